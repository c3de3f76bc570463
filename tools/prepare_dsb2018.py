"""Turns DSB2018 folders or archives into COCO JSON and label files for training.

    python tools/prepare_dsb2018.py --input stage1_train.zip --splits datasets/splits
    python tools/prepare_dsb2018.py --input stage1_test --solution stage1_solution.csv
    python tools/prepare_dsb2018.py --sample

Input is a folder or zip archive of `<image id>/images/<image>.png` with, for training images,
`<image id>/masks/*.png`. Output is written below `--output`, else `$DETECTRON2_DATASETS/dsb2018`,
else `./datasets/dsb2018`; `datasets/README.md` draws the tree.
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
from dsb2018.prepare import Options, PreparationResult, prepare
from dsb2018.prepare.sample import write_sample

MODALITY = Path(__file__).resolve().parents[1] / "datasets" / "modality.csv"


def argument_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--input", help="DSB folder or zip archive")
    what.add_argument("--sample", action="store_true", help="write and prepare a synthetic set")
    parser.add_argument("--output", type=output_folder, help="prepared root")
    parser.add_argument("--solution", help="stage1_solution.csv: truth of test images")
    parser.add_argument("--splits", help="folder of id lists, such as datasets/splits")
    parser.add_argument("--name", help="put all images into one dataset, dsb2018_NAME")
    parser.add_argument(
        "--modality",
        default=str(MODALITY) if MODALITY.exists() else None,
        help="CSV with image_id, modality, group (default: the project's own)",
    )
    parser.add_argument("--val-fraction", type=float, default=0.1, help="without lists; 0 to 1")
    parser.add_argument(
        "--seed",
        type=whole_number(0, 2**32 - 1),
        default=0,
        help="of the drawn split, or the sample",
    )
    parser.add_argument("--skip-bad", action="store_true", help="leave out what is bad, and report")
    parser.add_argument(
        "--workers", type=whole_number(1, 256), default=os.cpu_count(), help="processes"
    )
    parser.add_argument("--quiet", action="store_true", help="no progress bar")
    return parser


def check_arguments(args: argparse.Namespace) -> None:
    """Raises `UsageError` where arguments do not fit together."""
    if args.name and args.splits:
        raise UsageError("--name and --splits exclude each other")
    if args.sample and (args.name or args.splits or args.solution):
        raise UsageError("--sample has splits and truth of its own")


def prepare_input(args: argparse.Namespace) -> PreparationResult:
    """Prepares what the arguments ask for."""
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
