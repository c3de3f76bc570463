"""Tunes the postprocessing thresholds of a dense model.

    dsb2018 tune --config-file configs/unet/unet_light.yaml \\
        --weights output/unet/unet_light/model_final.pth --output output/tuned.yaml

Writes a config that is based on the given config and has the best thresholds; KEY VALUE pairs of
--opts are not copied into it. The thresholds are chosen on the first dataset of DATASETS.TEST,
which should be a validation set, by the mAP of the Data Science Bowl.
"""

import argparse
import logging
import os
from pathlib import Path

import yaml

from dsb2018.cli import output_file, run_command
from dsb2018.config import read_config
from dsb2018.data import check_registered, register_dsb2018
from dsb2018.engine.tuning import CHOICES, predict_dataset, tune
from dsb2018.errors import UsageError
from dsb2018.io.files import write_atomically
from dsb2018.modeling import load_model
from dsb2018.options import add_config_options, add_data_option, make_parser, read_options
from dsb2018.runtime.postprocess import InstanceOptions


def main(arguments: list[str] | None = None) -> int:
    """Tunes and prints the best options; returns the exit status, see `dsb2018.cli`."""
    parser = make_parser(__doc__ or "")
    parser.add_argument(
        "--output", type=output_file, required=True, metavar="YAML", help="the config to write"
    )
    add_data_option(parser)
    add_config_options(parser)
    return run_command(parser, tune_and_report, arguments)


def tune_and_report(args: argparse.Namespace) -> None:
    """Runs `tune_instances` and prints the best options."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    options, best = tune_instances(args)
    print(f"mAP {best:.1f} with {options}\nWritten: {args.output}")


def tune_instances(args: argparse.Namespace) -> tuple[InstanceOptions, float]:
    """Tunes the postprocessing on the first dataset of `DATASETS.TEST` and writes a config.

    Args:
        args: `config_file`, `data`, `output` (path of the new config), `opts` and `weights`.

    Returns:
        The best options and their mAP in percent.

    Raises:
        UsageError: the model has no probability maps, or the config has no test dataset.
    """
    cfg = read_config(args.config_file, read_options(args))
    if not cfg.DATASETS.TEST:
        raise UsageError(f"{args.config_file}: DATASETS.TEST is empty, expected a dataset")
    dataset_name = cfg.DATASETS.TEST[0]
    register_dsb2018(args.data)
    check_registered([dataset_name], "DATASETS.TEST")
    images = predict_dataset(cfg, load_model(cfg), dataset_name)
    options, best = tune(images, InstanceOptions.from_config(cfg))
    write_atomically(args.output, tuned_config(args, dataset_name, options, best))
    return options, best


def tuned_config(
    args: argparse.Namespace, dataset_name: str, options: InstanceOptions, best: float
) -> str:
    """Returns the YAML of a config that is based on the given config and has the best options.

    Args:
        args: see `tune_instances`.
        dataset_name: dataset that the options were tuned on.
        options: best options.
        best: mAP of the options in percent.
    """
    folder = Path(args.output).resolve().parent
    base = os.path.relpath(Path(args.config_file).resolve(), folder)
    keys = {name.upper(): getattr(options, name) for name in CHOICES}
    content = {"_BASE_": base, "MODEL": {"INSTANCES": keys}}
    comment = f"# Chosen by tools/tune_instances.py on {dataset_name}: mAP {best:.2f}.\n"
    return comment + yaml.safe_dump(content, sort_keys=False)
