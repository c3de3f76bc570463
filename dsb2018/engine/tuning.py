"""Choice of the postprocessing thresholds of a dense model by their score on a dataset."""

import logging
from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
from detectron2.config import CfgNode

from dsb2018.data.loaders import build_test_loader
from dsb2018.evaluation import matching
from dsb2018.io.names import image_name
from dsb2018.modeling.trained import TrainedModel
from dsb2018.runtime.postprocess import InstanceOptions, Maps, find_resized_nuclei
from dsb2018.structures.ground_truth import has_true_nuclei, read_label_layers

logger = logging.getLogger(__name__)

# Values to try for each option while the other options stay fixed.
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
        maps: predicted maps, float16 to save memory.
        ground_truth: (L, H, W) label layers.
    """

    maps: Maps
    ground_truth: np.ndarray


def predict_dataset(cfg: CfgNode, model: TrainedModel, dataset_name: str) -> list[TuningImage]:
    """Returns the predicted maps and the ground truth of each image of a dataset.

    The maps of 75 images take about 100 MB of memory.

    Args:
        cfg: complete config.
        model: dense model.
        dataset_name: registered dataset with ground truth.

    Raises:
        ValueError: the single nuclei of an image are not known.
    """
    images = []
    for batch in build_test_loader(cfg, dataset_name):
        for sample, maps in zip(batch, model.predict_maps(batch), strict=True):
            if not has_true_nuclei(sample):
                raise ValueError(
                    f"{dataset_name}: the single nuclei of image {image_name(sample)} are not "
                    "known, expected a dataset with masks of nuclei"
                )
            images.append(TuningImage(_convert(maps, np.float16), read_label_layers(sample)))
    return images


def _convert(maps: Maps, dtype: type) -> Maps:
    return Maps(*(values if values is None else values.astype(dtype) for values in maps))


def score_options(images: Sequence[TuningImage], options: InstanceOptions) -> float:
    """Returns Kaggle's mAP of the nuclei that the options give, in percent."""
    return matching.kaggle_map([_compare(image, options) for image in images])


def _compare(image: TuningImage, options: InstanceOptions) -> matching.Counts:
    maps = _convert(image.maps, np.float32)
    return matching.compare(
        image.ground_truth, find_resized_nuclei(maps, options, image.ground_truth.shape[1:])
    )


def tune(
    images: Sequence[TuningImage], options: InstanceOptions, rounds: int = 2
) -> tuple[InstanceOptions, float]:
    """Optimizes one option after the other, and repeats this while the score improves.

    Args:
        images: images of a validation set.
        options: initial options.
        rounds: maximum number of passes over all options.

    Returns:
        The best options and their mAP in percent.
    """
    best = score_options(images, options)
    logger.info("mAP %.2f with the initial options: %s", best, options)
    for _ in range(rounds):
        previous_best = best
        for name in _relevant_options(images[0], options):
            for value in CHOICES[name]:
                if value == getattr(options, name):
                    continue
                candidate = replace(options, **{name: value})
                candidate_score = score_options(images, candidate)
                if candidate_score > best:
                    best, options = candidate_score, candidate
            logger.info("mAP %.2f with %s %s", best, name, getattr(options, name))
        if best == previous_best:
            break
    return options, best


def _relevant_options(image: TuningImage, options: InstanceOptions) -> list[str]:
    """Returns the names of the options that affect the result."""
    unused = set()
    if options.method == "votes":
        unused = {"seed_thresh"}
    elif options.method == "components":
        unused = {"seed_depth", "seed_thresh"}
    elif options.seeds == "map" or image.maps.interior is None:
        unused = {"seed_thresh"}
    return [name for name in CHOICES if name not in unused]
