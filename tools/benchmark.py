"""Compares models and other tools on the same images with the same metrics.

    python tools/benchmark.py --output output/comparison \\
        --config-file configs/unet/unet_light.yaml configs/mask_rcnn/lite0_FPN.yaml \\
        --predictions StarDist=stardist_labels --datasets dsb2018_val

Writes report.html, a page that shows all results; results.md, results.csv and results.json; and,
for each model and dataset, a folder with the scores and label images of each image. Scores that
already exist are not computed again.
"""

import argparse
import logging
import sys

from dsb2018.cli import run_command
from dsb2018.commands.benchmark import benchmark, benchmark_parser


def main(arguments: list[str] | None = None) -> int:
    return run_command(benchmark_parser(__doc__), run, arguments)


def run(args: argparse.Namespace) -> None:
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    benchmark(args)
    print(f"Written: {args.output}/report.html, results.md, results.csv, results.json")


if __name__ == "__main__":
    sys.exit(main())
