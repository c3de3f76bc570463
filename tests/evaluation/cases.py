"""Predictions in the format of model outputs, for the tests of the evaluators."""

import numpy as np
import torch
from detectron2.structures import Boxes, Instances


def to_instances(masks: np.ndarray, scores=None, boxes=None) -> Instances:
    """Converts (N, H, W) bool masks to instances. The default scores descend from 0.99 to 0.6."""
    masks = np.asarray(masks, bool)
    if scores is None:
        scores = np.linspace(0.99, 0.6, len(masks))
    if boxes is None:
        boxes = [tight_box(mask) for mask in masks]
    instances = Instances(masks.shape[1:])
    instances.pred_boxes = Boxes(torch.tensor(np.array(boxes, np.float32).reshape(-1, 4)))
    instances.scores = torch.tensor(np.asarray(scores), dtype=torch.float32)
    instances.pred_classes = torch.zeros(len(masks), dtype=torch.int64)
    instances.pred_masks = torch.from_numpy(masks)
    return instances


def tight_box(mask: np.ndarray) -> tuple[int, int, int, int]:
    """Returns x0, y0, x1, y1 of a mask that is not empty."""
    rows, columns = np.nonzero(mask)
    return columns.min(), rows.min(), columns.max() + 1, rows.max() + 1


def to_output(instances: Instances) -> dict:
    """Returns the output of a model: instances, and their union as a semantic map."""
    nuclei = instances.pred_masks.any(dim=0)
    return {"instances": instances, "sem_seg": torch.stack([~nuclei, nuclei]).float()}


def masks_of(layers: np.ndarray) -> np.ndarray:
    """Converts (L, H, W) label layers to (N, H, W) bool masks."""
    labels = [label for label in np.unique(layers) if label]
    return np.array([(layers == label).any(axis=0) for label in labels]).reshape(
        -1, *layers.shape[1:]
    )


def imperfect_masks(masks: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Simulates the masks of a model: moved a little, some missed, and two false ones."""
    predicted = [
        np.roll(mask, rng.integers(-2, 3, 2), (0, 1)) for mask in masks if rng.random() < 0.85
    ]
    for _ in range(2):
        false_mask = np.zeros(masks.shape[1:], bool)
        y, x = rng.integers(0, false_mask.shape[0] - 8), rng.integers(0, false_mask.shape[1] - 8)
        false_mask[y : y + 8, x : x + 8] = True
        predicted.append(false_mask)
    return np.array(predicted)
