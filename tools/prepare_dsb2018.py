"""Converts DSB2018 folders or archives to COCO JSON and label files for training.

    python tools/prepare_dsb2018.py --input stage1_train.zip --splits datasets/splits
    python tools/prepare_dsb2018.py --input stage1_test --solution stage1_solution.csv
    python tools/prepare_dsb2018.py --sample

The input is a folder or zip archive of `<image id>/images/<image>.png` and, for training images,
`<image id>/masks/*.png`. The output folder is `--output`, else `$DETECTRON2_DATASETS/dsb2018`, else
`./datasets/dsb2018`. `datasets/README.md` describes its structure.
"""

import argparse
import logging
import os
import sys
from dataclasses import replace
from pathlib import Path

from dsb2018.cli import output_folder, run_command, whole_number
from dsb2018.errors import UsageError
from dsb2018.io.paths import prepared_root
from dsb2018.options import make_parser
from dsb2018.prepare import Options, PreparationResult, prepare
from dsb2018.prepare.sample import write_sample

MODALITY = Path(__file__).resolve().parents[1] / "datasets" / "modality.csv"


def argument_parser() -> argparse.ArgumentParser:
    parser = make_parser(__doc__)
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--input", help="DSB folder or zip archive")
    source.add_argument(
        "--sample", action="store_true", help="generate and prepare a synthetic dataset"
    )
    parser.add_argument("--output", type=output_folder, help="folder for the prepared datasets")
    parser.add_argument(
        "--solution", help="stage1_solution.csv, the ground truth of the test images"
    )
    parser.add_argument(
        "--splits",
        help="folder with one list of image ids per dataset, such as datasets/splits; "
        "cannot be combined with --name",
    )
    parser.add_argument(
        "--name",
        help="put all images into one dataset, dsb2018_NAME, instead of training and validation",
    )
    parser.add_argument(
        "--modality",
        default=str(MODALITY) if MODALITY.exists() else None,
        help="CSV with image_id, modality, group (default: datasets/modality.csv)",
    )
    parser.add_argument(
        "--val-fraction",
        type=float,
        default=0.1,
        help="fraction of validation images without --splits, 0 to 1 (default: 0.1)",
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
    parser.add_argument("--quiet", action="store_true", help="hide the progress bar")
    return parser


def check_arguments(args: argparse.Namespace) -> None:
    """Raises `UsageError` if arguments cannot be combined."""
    if args.name and args.splits:
        raise UsageError("--name and --splits cannot be combined")
    if args.sample and (args.name or args.splits or args.solution):
        raise UsageError("--sample cannot be combined with --name, --splits or --solution")


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
    names = ("solution", "splits", "name", "modality", "val_fraction", "seed")
    return prepare(replace(common, **{name: getattr(args, name) for name in names}))


def main(arguments: list[str] | None = None) -> int:
    return run_command(argument_parser(), run, arguments)


def run(args: argparse.Namespace) -> None:
    logging.basicConfig(format="%(levelname)s: %(message)s")
    check_arguments(args)
    prepared = prepare_input(args)
    root = prepared_root(args.output)
    for name, (images, nuclei) in prepared.datasets.items():
        print(f"{name}: {images} images, {nuclei} nuclei in {root / 'annotations' / name}.json")
    if prepared.notes:
        print(f"{len(prepared.notes)} notes in {root / 'report.txt'}")


if __name__ == "__main__":
    sys.exit(main())
