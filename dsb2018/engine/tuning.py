"""Chooses the thresholds of a dense model's postprocessing by their score on a dataset."""

import logging
from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
from detectron2.config import CfgNode

from dsb2018.data.loaders import build_test_loader
from dsb2018.evaluation import matching
from dsb2018.modeling.postprocess import InstanceOptions, Maps, find_nuclei
from dsb2018.modeling.trained import TrainedModel
from dsb2018.structures.ground_truth import read_label_layers

logger = logging.getLogger(__name__)

# The values that are tried for each option while the others stay as they are.
CHOICES: dict[str, tuple] = {
    "nucleus_thresh": (0.3, 0.35, 0.4, 0.45, 0.5, 0.55, 0.6, 0.65, 0.7),
    "seed_depth": (0.05, 0.1, 0.15, 0.2, 0.3, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0),
    "seed_thresh": (0.3, 0.4, 0.45, 0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.9),
    "min_area": (6, 12, 18, 24, 36),
    "max_hole": (0, 15, 30, 60, 120),
}


class TuningImage(NamedTuple):
    """One image of a validation set.

    Args:
        maps: what the model predicts, in float16 to save memory.
        truth: (L, H, W) label layers.
    """

    maps: Maps
    truth: np.ndarray


def predict_dataset(cfg: CfgNode, model: TrainedModel, dataset_name: str) -> list[TuningImage]:
    """The maps of each image of a dataset; those of 75 images take about 100 MB."""
    images = []
    for batch in build_test_loader(cfg, dataset_name):
        for sample, maps in zip(batch, model.predict_maps(batch), strict=True):
            images.append(TuningImage(_convert(maps, np.float16), read_label_layers(sample)))
    return images


def _convert(maps: Maps, dtype: type) -> Maps:
    return Maps(*(values if values is None else values.astype(dtype) for values in maps))


def score_options(images: Sequence[TuningImage], options: InstanceOptions) -> float:
    """Kaggle's mAP of the images' nuclei, percent."""
    return matching.kaggle_map([_compare(image, options) for image in images])


def _compare(image: TuningImage, options: InstanceOptions) -> matching.Counts:
    maps = _convert(image.maps, np.float32)
    return matching.compare(image.truth, find_nuclei(maps, options))


def tune(
    images: Sequence[TuningImage], options: InstanceOptions, rounds: int = 2
) -> tuple[InstanceOptions, float]:
    """Improves one option after the other, some rounds long, as long as the score rises.

    Args:
        images: of a validation set.
        options: where to start.
        rounds: at most so many times through all options.

    Returns:
        The best options and their mAP, percent.
    """
    best = score_options(images, options)
    logger.info("mAP %.2f at the start: %s", best, options)
    for _ in range(rounds):
        before = best
        for name in _relevant(images[0], options):
            for value in CHOICES[name]:
                if value == getattr(options, name):
                    continue
                tried = replace(options, **{name: value})
                tried_score = score_options(images, tried)
                if tried_score > best:
                    best, options = tried_score, tried
            logger.info("mAP %.2f with %s %s", best, name, getattr(options, name))
        if best == before:
            break
    return options, best


def _relevant(image: TuningImage, options: InstanceOptions) -> list[str]:
    """Names of the options that change anything."""
    unused = set()
    if options.method == "components":
        unused = {"seed_depth", "seed_thresh"}
    elif options.seeds == "map" or image.maps.interior is None:
        unused = {"seed_thresh"}
    return [name for name in CHOICES if name not in unused]
