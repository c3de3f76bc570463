"""Shows a dataset: what it is like, and what a model is shown of it in training.

    python tools/visualize_data.py --config-file configs/unet/unet_light.yaml --output output/data

Written are index.html, a page to look at; statistics.csv, a line for each image; and samples/, what
the mapper makes of training images, with the true nuclei drawn. Datasets are DATASETS.TRAIN and
DATASETS.TEST; KEY VALUE pairs at the end override the config.
"""

import argparse
import sys

from dsb2018.cli import output_folder, run_command, whole_number
from dsb2018.config import read_config
from dsb2018.data import check_registered, register_dsb2018
from dsb2018.report.data_page import write_data_page


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description="Shows a dataset, and what a model is shown of it.",
        epilog=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--config-file", required=True, metavar="YAML")
    parser.add_argument("--output", required=True, type=output_folder, metavar="DIR")
    parser.add_argument("--data", metavar="ROOT", help="prepared root, as in train_net.py")
    parser.add_argument(
        "--samples", type=whole_number(1, 10_000), default=24, metavar="N", help="(default: 24)"
    )
    parser.add_argument("opts", nargs="*", metavar="KEY VALUE", help="override the config")
    return run_command(parser, run, arguments)


def run(args: argparse.Namespace) -> None:
    cfg = read_config(args.config_file, args.opts)
    register_dsb2018(args.data)
    check_registered(cfg.DATASETS.TRAIN, "DATASETS.TRAIN")
    check_registered(cfg.DATASETS.TEST, "DATASETS.TEST")
    names = list(dict.fromkeys((*cfg.DATASETS.TRAIN, *cfg.DATASETS.TEST)))
    write_data_page(cfg, names, args.output, args.samples)
    print(f"Written: {args.output}/index.html, statistics.csv, samples/")


if __name__ == "__main__":
    sys.exit(main())
