"""Segments and measures the nuclei in images.

    python tools/predict.py --input my_images --output output/nuclei
    python tools/predict.py --input … --output … --config-file configs/mask_rcnn/lite0_FPN.yaml \\
        --weights output/mask_rcnn/lite0_FPN/model_final.pth

Reads PNG, JPEG, BMP, TIFF (OME, ImageJ, stacks) and OME-Zarr. Writes nuclei.csv with one row per
nucleus, images.csv with one row per image, and the formats of --format, by default label images and
overlays.
"""

import argparse
import logging
import sys

from dsb2018.cli import FAILURE, run_command, stop_status
from dsb2018.commands.predict import predict, predict_parser


def main(arguments: list[str] | None = None) -> int:
    return run_command(predict_parser(__doc__), run, arguments)


def run(args: argparse.Namespace) -> int:
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    try:
        summary = predict(args)
    except KeyboardInterrupt as stop:
        print("interrupted; the same command continues where it stopped", file=sys.stderr)
        return stop_status(stop)
    if summary is None:  # with several processes, only the first one reports
        return 0
    for reason in summary.failed:
        print(f"failed: {reason}", file=sys.stderr)
    print(f"{summary.done} of {summary.files} files done, {summary.nuclei} nuclei")
    if summary.written:
        print(f"Written to {args.output}: {', '.join(path.name for path in summary.written)}")
    return FAILURE if summary.failed else 0


if __name__ == "__main__":
    sys.exit(main())
