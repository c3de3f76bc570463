"""Chooses the thresholds by which a dense model's maps become nuclei, and writes them to a YAML.

    python tools/tune_instances.py --config-file configs/unet/unet_light.yaml \\
        --output tuned.yaml MODEL.WEIGHTS output/unet/unet_light/model_final.pth

What is written is a config: the given one with the best thresholds (but not the KEY VALUE pairs
of this command). The images are those of DATASETS.TEST, a validation set; the score is the Data
Science Bowl's mAP.
"""

import argparse
import sys

from dsb2018.cli import output_file, run_command
from dsb2018.engine import argument_parser
from dsb2018.engine.tuning import tune_command


def main(arguments: list[str] | None = None) -> int:
    parser = argument_parser(epilog=__doc__)
    add = parser.add_argument
    add("--output", type=output_file, required=True, metavar="YAML", help="the file to write")
    return run_command(parser, run, arguments)


def run(args: argparse.Namespace) -> None:
    options, best = tune_command(args)
    print(f"mAP {best:.1f} with {options}\nWritten: {args.output}")


if __name__ == "__main__":
    sys.exit(main())
