"""Metrics of the semantic map, nuclei against background. All scores are in percent."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np


class Pixels(NamedTuple):
    """True positive, false positive, false negative and true negative pixels of one image."""

    tp: int
    fp: int
    fn: int
    tn: int


def count_pixels(ground_truth: np.ndarray, predicted: np.ndarray) -> Pixels:
    """Counts the pixels of one image.

    Args:
        ground_truth, predicted: (H, W) bool, True in nuclei.

    Raises:
        ValueError: the maps are not bool, or have different shapes.
    """
    for name, array in (("ground truth", ground_truth), ("prediction", predicted)):
        if array.dtype != bool:
            raise ValueError(f"{name}: a map of dtype {array.dtype}, expected bool")
    if ground_truth.shape != predicted.shape:
        raise ValueError(
            f"prediction: {predicted.shape} pixels, expected {ground_truth.shape} as in the "
            "ground truth"
        )
    tp = int(np.count_nonzero(ground_truth & predicted))
    fp = int(np.count_nonzero(predicted)) - tp
    fn = int(np.count_nonzero(ground_truth)) - tp
    return Pixels(tp, fp, fn, ground_truth.size - tp - fp - fn)


def mean_iou(images: Sequence[Pixels]) -> float:
    """Computes the IoU of nuclei, mean over images. An image scores 100 if both maps are empty."""
    tp, fp, fn, _ = _columns(images)
    return _percent(_share(tp, tp + fp + fn))


def mean_dice(images: Sequence[Pixels]) -> float:
    """Computes 2 TP / (2 TP + FP + FN), mean over images. An image scores 100 if both are empty."""
    tp, fp, fn, _ = _columns(images)
    return _percent(_share(2 * tp, 2 * tp + fp + fn))


def pooled_iou(images: Sequence[Pixels]) -> float:
    """Computes the IoU of nuclei over all pixels of the dataset."""
    tp, fp, fn, _ = _totals(images)
    return _percent(_share(tp, tp + fp + fn))


def two_class_iou(images: Sequence[Pixels]) -> float:
    """Computes the mean of the pooled IoU of nuclei and the pooled IoU of background."""
    tp, fp, fn, tn = _totals(images)
    return _percent((_share(tp, tp + fp + fn) + _share(tn, tn + fp + fn)) / 2)


def accuracy(images: Sequence[Pixels]) -> float:
    """Computes the share of correct pixels."""
    tp, fp, fn, tn = _totals(images)
    return _percent((tp + tn) / (tp + fp + fn + tn))


def _columns(images: Sequence[Pixels]) -> np.ndarray:
    """Returns TP, FP, FN and TN as a (4, number of images) int64 array."""
    return np.array(images, np.int64).reshape(-1, 4).T


def _totals(images: Sequence[Pixels]) -> np.ndarray:
    """Returns the sums over images, (4, 1); (4, 0) without images, so that scores are NaN."""
    columns = _columns(images)
    return columns.sum(axis=1, keepdims=True)[:, : columns.shape[1]]


def _percent(shares: np.ndarray) -> float:
    return float(100 * np.mean(shares)) if shares.size else float("nan")


def _share(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """Returns part / whole, 1 where the whole is 0."""
    return np.where(whole > 0, part / np.maximum(whole, 1), 1.0)
