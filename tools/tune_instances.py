"""Tunes the postprocessing thresholds of a dense model.

    python tools/tune_instances.py --config-file configs/unet/unet_light.yaml \\
        --weights output/unet/unet_light/model_final.pth --output output/tuned.yaml

Writes a config that is based on the given config and has the best thresholds; KEY VALUE pairs of
--opts are not copied into it. The thresholds are chosen on the first dataset of DATASETS.TEST,
which should be a validation set, by the mAP of the Data Science Bowl.
"""

import argparse
import logging
import sys

from dsb2018.cli import output_file, run_command
from dsb2018.commands.tune_instances import tune_instances
from dsb2018.options import add_data_option, add_model_options, make_parser


def main(arguments: list[str] | None = None) -> int:
    parser = make_parser(__doc__)
    parser.add_argument(
        "--output", type=output_file, required=True, metavar="YAML", help="the config to write"
    )
    add_data_option(parser)
    add_model_options(parser)
    return run_command(parser, run, arguments)


def run(args: argparse.Namespace) -> None:
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    options, best = tune_instances(args)
    print(f"mAP {best:.1f} with {options}\nWritten: {args.output}")


if __name__ == "__main__":
    sys.exit(main())
