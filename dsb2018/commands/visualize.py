"""Shows statistics of datasets and the training samples that a model gets.

    dsb2018 visualize --config-file configs/unet/unet_light.yaml --output output/data

Writes index.html, a page with all results; statistics.csv, with one row per image; and samples/,
training images after augmentation with the ground truth. The datasets are those of DATASETS.TRAIN
and DATASETS.TEST.
"""

import argparse

from dsb2018.cli import run_command, whole_number
from dsb2018.config import read_config
from dsb2018.data import check_registered, register_dsb2018
from dsb2018.options import add_data_option, add_opts, add_output_folder, make_parser
from dsb2018.report.data_page import write_data_page


def main(arguments: list[str] | None = None) -> int:
    parser = make_parser(__doc__ or "")
    parser.add_argument(
        "--config-file",
        required=True,
        metavar="YAML",
        help="config that names the datasets and the augmentations",
    )
    add_output_folder(parser, "the page, the table and the samples")
    add_data_option(parser)
    parser.add_argument(
        "--samples",
        type=whole_number(1, 10_000),
        default=24,
        metavar="N",
        help="number of training samples (default: 24)",
    )
    add_opts(parser)
    return run_command(parser, visualize_and_report, arguments)


def visualize_and_report(args: argparse.Namespace) -> None:
    cfg = read_config(args.config_file, args.opts)
    register_dsb2018(args.data)
    check_registered(cfg.DATASETS.TRAIN, "DATASETS.TRAIN")
    check_registered(cfg.DATASETS.TEST, "DATASETS.TEST")
    names = list(dict.fromkeys((*cfg.DATASETS.TRAIN, *cfg.DATASETS.TEST)))
    write_data_page(cfg, names, args.output, args.samples)
    print(f"Written: {args.output}/index.html, statistics.csv, samples/")
