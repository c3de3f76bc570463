"""Computes how often each image is drawn in training."""

from collections import Counter
from collections.abc import Sequence

import torch

from dsb2018.errors import UsageError


def repeat_factors(
    datasets: Sequence[Sequence[dict]], weights: Sequence[float], modality_power: float
) -> torch.Tensor:
    """Returns how often each image is drawn.

    The weights distribute the draws over the datasets, and the modalities then distribute the draws
    of each dataset over its images. Without weights, all datasets are one.

    Args:
        datasets: Detectron2's standard dicts of each training dataset.
        weights: share of each dataset in the draws, in any unit, more than 0; empty: no weights.
        modality_power: see `modality_repeat_factors`.

    Returns:
        (number of images,) float32, at least 1 in the mean of the dataset that is drawn least:
        number of times in a round, see `draw_indices`.

    Raises:
        UsageError: there are not as many weights as datasets, or a weight is not positive.
        ValueError: see `modality_repeat_factors`.
    """
    if not len(weights):
        return modality_repeat_factors(
            [item for items in datasets for item in items], modality_power
        )
    if len(weights) != len(datasets) or not all(0 < weight < float("inf") for weight in weights):
        raise UsageError(
            f"DATALOADER.DATASET_WEIGHTS {list(weights)}, expected one positive number for each of "
            f"the {len(datasets)} datasets of DATASETS.TRAIN"
        )
    factors = [modality_repeat_factors(list(items), modality_power) for items in datasets]
    shares = [weight / float(f.sum()) for weight, f in zip(weights, factors, strict=True)]
    means = [share * float(f.mean()) for share, f in zip(shares, factors, strict=True)]
    return torch.cat([f * share / min(means) for f, share in zip(factors, shares, strict=True)])


def modality_repeat_factors(dataset_dicts: list[dict], power: float) -> torch.Tensor:
    """Returns how often each image is drawn, so that rare modalities can be drawn more often.

    If the most common modality has N images and another one has n, the images of the latter are
    drawn (N / n) ** (1 - power) times as often. Images without a modality form a modality of their
    own, "unknown".

    Args:
        dataset_dicts: Detectron2's standard dicts, with `modality` if it is known.
        power: 1: all images are drawn equally often; 0: all modalities are drawn equally often.

    Returns:
        (number of images,) float32, 1 or more: number of times in a round, see `draw_indices`.

    Raises:
        ValueError: power is not between 0 and 1.
    """
    if not 0 <= power <= 1:
        raise ValueError(f"DATALOADER.MODALITY_POWER {power}, expected 0 to 1")
    modalities = [item.get("modality", "unknown") for item in dataset_dicts]
    counts = Counter(modalities)
    most = max(counts.values())
    factors = [(most / counts[modality]) ** (1 - power) for modality in modalities]
    return torch.tensor(factors, dtype=torch.float32)
