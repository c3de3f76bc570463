"""How well a map of nuclei against background fits the truth. All scores are in percent."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np


class Pixels(NamedTuple):
    """Number of pixels of one image: nucleus in both, in the prediction only, in the truth only,
    in neither."""

    tp: int
    fp: int
    fn: int
    tn: int


def count_pixels(truth: np.ndarray, predicted: np.ndarray) -> Pixels:
    """Counts the pixels of one image.

    Args:
        truth, predicted: (H, W) bool, True in nuclei.

    Raises:
        ValueError: not bool, or of other shapes.
    """
    for name, array in (("truth", truth), ("predicted", predicted)):
        if array.dtype != bool:
            raise ValueError(f"{name}: a map of dtype {array.dtype}, expected bool")
    if truth.shape != predicted.shape:
        raise ValueError(f"truth has {truth.shape} pixels, predicted {predicted.shape}")
    tp = int(np.count_nonzero(truth & predicted))
    fp = int(np.count_nonzero(predicted)) - tp
    fn = int(np.count_nonzero(truth)) - tp
    return Pixels(tp, fp, fn, truth.size - tp - fp - fn)


def mean_iou(images: Sequence[Pixels]) -> float:
    """Mean over images of the nuclei's intersection over union; both empty: 100."""
    tp, fp, fn, _ = _columns(images)
    return _percent(_share(tp, tp + fp + fn))


def mean_dice(images: Sequence[Pixels]) -> float:
    """Mean over images of 2 TP / (2 TP + FP + FN); both empty: 100."""
    tp, fp, fn, _ = _columns(images)
    return _percent(_share(2 * tp, 2 * tp + fp + fn))


def pooled_iou(images: Sequence[Pixels]) -> float:
    """The nuclei's intersection over union, of all pixels of the dataset together."""
    tp, fp, fn, _ = _totals(images)
    return _percent(_share(tp, tp + fp + fn))


def two_class_iou(images: Sequence[Pixels]) -> float:
    """Mean of the pooled IoU of nuclei and that of background."""
    tp, fp, fn, tn = _totals(images)
    return _percent((_share(tp, tp + fp + fn) + _share(tn, tn + fp + fn)) / 2)


def accuracy(images: Sequence[Pixels]) -> float:
    """Share of all pixels that are right."""
    tp, fp, fn, tn = _totals(images)
    return _percent((tp + tn) / (tp + fp + fn + tn))


def _columns(images: Sequence[Pixels]) -> np.ndarray:
    """(4, number of images) int64: TP, FP, FN and TN."""
    return np.array(images, np.int64).reshape(-1, 4).T


def _totals(images: Sequence[Pixels]) -> np.ndarray:
    """(4, 1), or (4, 0) without images, which has no mean."""
    columns = _columns(images)
    return columns.sum(axis=1, keepdims=True)[:, : columns.shape[1]]


def _percent(shares: np.ndarray) -> float:
    return float(100 * np.mean(shares)) if shares.size else float("nan")


def _share(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """part / whole; 1 where there is nothing."""
    return np.where(whole > 0, part / np.maximum(whole, 1), 1.0)
