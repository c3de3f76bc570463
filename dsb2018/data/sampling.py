"""Which images training sees how often."""

from collections import Counter

import torch


def modality_repeat_factors(dataset_dicts: list[dict], power: float) -> torch.Tensor:
    """How often each image is drawn, so that rare modalities are not drowned by common ones.

    With n images of a modality among N of the most common one, its images are drawn
    (N / n) ** (1 - power) times as often as those. An image without modality counts as one of a
    modality of its own kind, "unknown".

    Args:
        dataset_dicts: Detectron2's standard dicts; `modality` where known.
        power: 1: as they come; 0: every modality equally often.

    Returns:
        (number of images,) float32, 1 or more: times in a round, see `draw_indices`.

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
