"""Implementation of `tools/tune_instances.py`."""

import argparse
import os
from pathlib import Path

import yaml

from dsb2018.config import read_config
from dsb2018.data import check_registered, register_dsb2018
from dsb2018.engine.tuning import CHOICES, predict_dataset, tune
from dsb2018.errors import UsageError
from dsb2018.io.files import write_atomically
from dsb2018.modeling import load_model
from dsb2018.modeling.postprocess import InstanceOptions
from dsb2018.options import read_options


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
