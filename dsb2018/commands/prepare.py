"""Prepares images and their ground truth for training: COCO JSON and label files.

    dsb2018 prepare --input stage1_train.zip --splits datasets/splits
    dsb2018 prepare --input stage1_test --solution stage1_solution.csv
    dsb2018 prepare --input my_data --name mine
    dsb2018 prepare --input my_images --truth results/labels --name corrected
    dsb2018 prepare --sample

The form of the input is recognized: folders of the Data Science Bowl, images with label images,
COCO JSON, ImageJ ROIs, or GeoJSON. `docs/own-data.md` shows each of them. The output folder is
`--output`, else `$DETECTRON2_DATASETS/dsb2018`, else `./datasets/dsb2018`. `datasets/README.md`
describes its structure.
"""

import argparse
import logging
import os
from dataclasses import replace
from pathlib import Path

from dsb2018.cli import output_folder, run_command, whole_number
from dsb2018.errors import UsageError
from dsb2018.io.paths import prepared_root
from dsb2018.options import make_parser
from dsb2018.prepare import Options, PreparationResult, prepare
from dsb2018.prepare.forms import FORMS
from dsb2018.prepare.forms.label_files import LABEL_VALUES
from dsb2018.prepare.sample import write_sample

# Options that are not for the synthetic dataset.
INPUT_OPTIONS = (
    *("truth", "form", "label_values", "channel", "solution", "splits", "name", "val_fraction"),
    "group",
)
MODALITY = Path(__file__).resolve().parents[2] / "datasets" / "modality.csv"


def prepare_parser() -> argparse.ArgumentParser:
    parser = make_parser(__doc__ or "")
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument(
        "--input", help="folder or zip archive of images, or a COCO JSON file beside its images"
    )
    source.add_argument(
        "--sample", action="store_true", help="generate and prepare a synthetic dataset"
    )
    parser.add_argument("--output", type=output_folder, help="folder for the prepared datasets")
    parser.add_argument(
        "--truth",
        help="folder or zip archive of the ground truth, or a COCO JSON file, if it is not in the "
        "input",
    )
    parser.add_argument(
        "--form", choices=FORMS, help="form of the input (default: it is recognized)"
    )
    parser.add_argument(
        "--label-values",
        choices=LABEL_VALUES,
        help="meaning of label images: each value is one nucleus (nuclei), each connected region "
        "of one value is a nucleus (regions), or nuclei against background (foreground); default: "
        "nuclei, regions for color images, and foreground in a folder of this name",
    )
    parser.add_argument(
        "--category",
        nargs="+",
        default=[],
        metavar="NAME",
        help="categories of COCO JSON, or classes of GeoJSON, that are nuclei (default: all)",
    )
    parser.add_argument(
        "--channel",
        help="index, from 0, or name of the nuclear channel of images with several channels",
    )
    parser.add_argument(
        "--solution", help="stage1_solution.csv, the ground truth of the test images"
    )
    parser.add_argument(
        "--splits",
        help="folder with one list of image ids per dataset, such as datasets/splits",
    )
    parser.add_argument(
        "--name",
        help="name of the dataset, dsb2018_NAME, or of the datasets, dsb2018_NAME_train, …",
    )
    parser.add_argument(
        "--modality",
        default=str(MODALITY) if MODALITY.exists() else None,
        help="CSV with image_id, modality, group (default: datasets/modality.csv)",
    )
    parser.add_argument(
        "--val-fraction",
        type=float,
        help="fraction of validation images in a random split, 0 to 1 (default: 0.1; with --name "
        "or folders train, val and test: no random split)",
    )
    parser.add_argument(
        "--group",
        metavar="REGEX",
        help="images with the same match in their name stay together in a random split, such as "
        "'^field[0-9]+' for the tiles of a field",
    )
    parser.add_argument(
        "--seed",
        type=whole_number(0, 2**32 - 1),
        default=0,
        help="seed of the random split, or of the synthetic dataset (default: 0)",
    )
    parser.add_argument(
        "--skip-bad",
        action="store_true",
        help="skip images with unreadable or inconsistent files; report.txt lists them",
    )
    parser.add_argument(
        "--workers",
        type=whole_number(1, 256),
        default=os.cpu_count(),
        help="number of processes (default: number of CPU cores)",
    )
    parser.add_argument("--quiet", action="store_true", help="hide the progress")
    return parser


def check_arguments(args: argparse.Namespace) -> None:
    """Raises `UsageError` if arguments cannot be combined."""
    given = [name for name in INPUT_OPTIONS if getattr(args, name)]
    if args.sample and given:
        raise UsageError(f"--sample cannot be combined with --{given[0].replace('_', '-')}")


def prepare_input(args: argparse.Namespace) -> PreparationResult:
    """Prepares the input, or the synthetic dataset with `--sample`."""
    root = prepared_root(args.output)
    common = Options(
        input=args.input or "",
        output=root,
        skip_bad=args.skip_bad,
        workers=args.workers,
        progress=not args.quiet,
    )
    if args.sample:
        sample = write_sample(root / "sample", seed=args.seed)
        paths = {"input": sample.images, "splits": sample.splits, "modality": sample.modality}
        return prepare(replace(common, **paths))
    names = (*INPUT_OPTIONS, "modality", "seed")
    options = {name: getattr(args, name) for name in names}
    return prepare(replace(common, categories=tuple(args.category), **options))


def main(arguments: list[str] | None = None) -> int:
    return run_command(prepare_parser(), prepare_and_report, arguments)


def prepare_and_report(args: argparse.Namespace) -> None:
    logging.basicConfig(format="%(levelname)s: %(message)s")
    check_arguments(args)
    prepared = prepare_input(args)
    root = prepared_root(args.output)
    for name, (images, nuclei) in prepared.datasets.items():
        print(f"{name}: {images} images, {nuclei} nuclei in {root / 'annotations' / name}.json")
    if prepared.notes:
        print(f"Notes: {len(prepared.notes)}, in {root / 'report.txt'}")
