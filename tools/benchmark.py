"""Compares models, and other tools, on the same images with the same metrics.

    python tools/benchmark.py --output output/comparison \\
        --configs configs/unet/unet_light.yaml configs/mask_rcnn/lite0_FPN.yaml \\
        --predictions StarDist=stardist_labels --datasets dsb2018_val

What is scored already is not scored again. Written are report.html, a page to look at; results.md,
results.csv and results.json; and for each model and dataset a folder with the scores of each image
and label images.
"""

import argparse
import logging
import sys

from dsb2018.cli import run_command
from dsb2018.report.command import argument_parser, benchmark


def main(arguments: list[str] | None = None) -> int:
    return run_command(argument_parser(epilog=__doc__), run, arguments)


def run(args: argparse.Namespace) -> None:
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    benchmark(args)
    print(f"Written: {args.output}/report.html, results.md, results.csv, results.json")


if __name__ == "__main__":
    sys.exit(main())
