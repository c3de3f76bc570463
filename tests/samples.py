"""Model inputs for the tests."""

import numpy as np
import torch

from dsb2018.data.targets import interior_map
from dsb2018.structures.instances import to_ground_truth
from dsb2018.structures.labels import center_offsets, crop_layers


def training_sample(height: int = 67, width: int = 93, nuclei: bool = True) -> dict:
    """Returns a sample as `TrainingMapper` does: a noise image with two nuclei, or none."""
    labels = np.zeros((1, height, width), np.uint8)
    if nuclei:
        labels[0, 5:20, 5:25], labels[0, 30:50, 40:60] = 1, 2
    return {
        "image": torch.randint(0, 255, (3, height, width), dtype=torch.uint8),
        "sem_seg": torch.from_numpy((labels[0] > 0).astype(np.int64)),
        "interior": torch.from_numpy(interior_map(labels, "distance")),
        "offsets": torch.from_numpy(center_offsets(labels[0])),
        "instances": to_ground_truth(crop_layers(labels), (height, width)),
    }
