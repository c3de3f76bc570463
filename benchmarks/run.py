"""Measures speed and memory on the real DSB2018 data: `make bench`, or

    python -m benchmarks.run --images stage1_train [--only preparation loading …]

`--images` is a DSB folder (default: `$DSB2018_REAL_DATA/stage1_train`). Comparisons run both sides
alternately three times and report the best times.
"""

import argparse
import logging
import os
import sys
import tempfile
from pathlib import Path

from benchmarks import (
    cluster,
    evaluation,
    forms,
    inference,
    loading,
    peer_times,
    prediction,
    preparation,
    tiling,
    training,
    waiting,
)
from benchmarks.timing import Row
from dsb2018.data import register_dsb2018

DEFAULT = Path(os.environ.get("DSB2018_REAL_DATA", "../shared/dsb2018")) / "stage1_train"
TRAINED = ("mask_rcnn/lite0_FPN", "unet/unet", "unet/unet_border", "unet/unet_light")
# name → function of the DSB folder and the prepared root that returns the rows of the report
BENCHMARKS = {
    "preparation": lambda images, root: preparation.measure(images),
    "loading": lambda images, root: loading.measure("dsb2018_train"),
    "forms": lambda images, root: forms.measure("dsb2018_val"),
    "evaluation": lambda images, root: evaluation.measure(
        "dsb2018_val", ("dsb2018_train", "dsb2018_val")
    ),
    "training": lambda images, root: [
        row for name in TRAINED for row in training.measure(f"configs/{name}.yaml", "dsb2018_train")
    ],
    "waiting": lambda images, root: [
        row
        for name in ("mask_rcnn/lite0_FPN", "unet/unet_light")
        for row in waiting.measure(f"configs/{name}.yaml", "dsb2018_train")
    ],
    "prediction": lambda images, root: prediction.measure(images),
    "cluster": lambda images, root: cluster.measure(),
    "peers": lambda images, root: peer_times.measure(images),
    "tiling": lambda images, root: tiling.measure(images),
    "inference": lambda images, root: inference.measure(root, "dsb2018_val"),
}


def print_rows(rows: list[Row]) -> None:
    for row in rows:
        goal = f"   goal {row.goal}" if row.goal else ""
        print(f"  {row.name:62}{row.value:>28}{goal}", flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--images", type=Path, default=DEFAULT, help="DSB folder")
    parser.add_argument(
        "--only", nargs="+", choices=BENCHMARKS, default=list(BENCHMARKS), help="benchmarks"
    )
    args = parser.parse_args()
    if not args.images.is_dir():
        print(f"error: {args.images}: no such folder; see datasets/README.md", file=sys.stderr)
        return 1
    logging.disable(logging.WARNING)
    with tempfile.TemporaryDirectory() as folder:
        if set(args.only) - {"preparation"}:
            preparation.prepare(args.images, Path(folder))
            register_dsb2018(folder)
        for name in args.only:
            print(name, flush=True)
            print_rows(BENCHMARKS[name](args.images, folder))
    return 0


if __name__ == "__main__":
    sys.exit(main())
