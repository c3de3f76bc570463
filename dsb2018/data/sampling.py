"""Computes how often each image is drawn in training."""

from collections import Counter

import torch


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
