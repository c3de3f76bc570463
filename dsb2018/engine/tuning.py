"""Chooses how the maps of a dense model become nuclei, by their score on a dataset."""

import argparse
import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
import yaml

from dsb2018.engine.precision import autocast, inference_precision
from dsb2018.engine.setup import setup
from dsb2018.engine.trainer import Trainer
from dsb2018.errors import UsageError
from dsb2018.evaluation import matching
from dsb2018.files import write_atomically
from dsb2018.modeling import NucleiCheckpointer
from dsb2018.modeling.dense import DenseModel
from dsb2018.modeling.instances import InstanceOptions, find_nuclei
from dsb2018.truth import read_label_layers

logger = logging.getLogger(__name__)

# What is tried for each option, others staying as they are.
CHOICES: dict[str, tuple] = {
    "nucleus_thresh": (0.3, 0.35, 0.4, 0.45, 0.5, 0.55, 0.6, 0.65, 0.7),
    "seed_depth": (0.05, 0.1, 0.15, 0.2, 0.3, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0),
    "seed_thresh": (0.3, 0.4, 0.45, 0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.9),
    "min_area": (6, 12, 18, 24, 36),
    "max_hole": (0, 15, 30, 60, 120),
}


@dataclass(frozen=True)
class Maps:
    """What a model says of one image, and its truth.

    Args:
        nucleus: (H, W) float16 probability of nucleus.
        interior: (H, W) float16, or None.
        truth: (L, H, W) label layers.
    """

    nucleus: np.ndarray
    interior: np.ndarray | None
    truth: np.ndarray


def predict_maps(cfg, model: DenseModel, dataset_name: str) -> list[Maps]:
    """The maps of each image of a dataset; those of 75 images take some 100 MB."""
    precision = inference_precision(cfg.SOLVER.PRECISION, cfg.MODEL.DEVICE)
    model.eval()
    images = []
    with torch.no_grad(), autocast(precision, cfg.MODEL.DEVICE):
        for batch in Trainer.build_test_loader(cfg, dataset_name):
            for sample, logits in zip(batch, model.logits(batch), strict=True):
                maps = model.probabilities(logits)
                nucleus, interior = (m if m is None else m.astype(np.float16) for m in maps)
                images.append(Maps(nucleus, interior, read_label_layers(sample)))
    return images


def score(images: Sequence[Maps], options: InstanceOptions) -> float:
    """Kaggle's mAP of the images' nuclei, percent."""
    return matching.kaggle_map([_compare(image, options) for image in images])


def _compare(image: Maps, options: InstanceOptions) -> matching.Counts:
    nucleus = image.nucleus.astype(np.float32)
    interior = None if image.interior is None else image.interior.astype(np.float32)
    return matching.compare(image.truth, find_nuclei(nucleus, interior, options))


def tune(
    images: Sequence[Maps], options: InstanceOptions, rounds: int = 2
) -> tuple[InstanceOptions, float]:
    """Improves one option after the other, some rounds long, as long as the score rises.

    Args:
        images: of a validation set.
        options: where to start.
        rounds: at most so many times through all options.

    Returns:
        The best options and their mAP, percent.
    """
    best = score(images, options)
    logger.info("mAP %.2f at the start: %s", best, options)
    for _ in range(rounds):
        before = best
        for name in _relevant(images[0], options):
            for value in CHOICES[name]:
                if value == getattr(options, name):
                    continue
                tried = replace(options, **{name: value})
                found = score(images, tried)
                if found > best:
                    best, options = found, tried
            logger.info("mAP %.2f with %s %s", best, name, getattr(options, name))
        if best == before:
            break
    return options, best


def _relevant(image: Maps, options: InstanceOptions) -> list[str]:
    """Names of the options that change anything."""
    unused = set()
    if options.method == "components":
        unused = {"seed_depth", "seed_thresh"}
    elif options.seeds == "map" or image.interior is None:
        unused = {"seed_thresh"}
    return [name for name in CHOICES if name not in unused]


def tune_command(args: argparse.Namespace) -> tuple[InstanceOptions, float]:
    """Runs `tools/tune_instances.py`: tunes on the first dataset of `DATASETS.TEST` and writes a
    config to `args.output`, and the log to a folder of the same name.

    Returns:
        The best options and their mAP, percent.

    Raises:
        UsageError: the model has no maps, or the config no test dataset.
    """
    output = Path(args.output).resolve()
    args.opts = [*args.opts, "OUTPUT_DIR", str(output.with_suffix(""))]
    cfg = setup(args)
    if not cfg.DATASETS.TEST:
        raise UsageError(f"{args.config_file}: DATASETS.TEST is empty, so nothing can be tuned on")
    model = Trainer.build_model(cfg)
    if not isinstance(model, DenseModel):
        raise UsageError(f"{type(model).__name__} finds nuclei without maps: nothing to tune")
    NucleiCheckpointer(model).load_trained(cfg.MODEL.WEIGHTS)
    images = predict_maps(cfg, model, cfg.DATASETS.TEST[0])
    options, best = tune(images, InstanceOptions.from_config(cfg))
    base = os.path.relpath(Path(args.config_file).resolve(), output.parent)
    keys = {name.upper(): getattr(options, name) for name in CHOICES}
    content = {"_BASE_": base, "MODEL": {"INSTANCES": keys}}
    comment = f"# Chosen by tools/tune_instances.py on {cfg.DATASETS.TEST[0]}: mAP {best:.2f}.\n"
    write_atomically(output, comment + yaml.safe_dump(content, sort_keys=False))
    return options, best
