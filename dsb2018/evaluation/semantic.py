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


def scores(images: Sequence[Pixels]) -> dict[str, float]:
    """All scores of a dataset, in percent; NaN for no images.

    IoU: mean over images of the nuclei's intersection over union; both empty: 100.
    IoU-pooled: the same ratio, of all pixels of the dataset together.
    mIoU: mean of the pooled IoU of nuclei and that of background.
    Dice: mean over images of 2 TP / (2 TP + FP + FN); both empty: 100.
    accuracy: share of all pixels that are right.
    """
    if not images:
        return dict.fromkeys(("IoU", "IoU-pooled", "mIoU", "Dice", "accuracy"), float("nan"))
    tp, fp, fn, tn = (np.array(column, np.int64) for column in zip(*images, strict=True))
    wrong = fp + fn
    pooled = _share(tp.sum(), tp.sum() + wrong.sum())
    background = _share(tn.sum(), tn.sum() + wrong.sum())
    shares = {
        "IoU": np.mean(_share(tp, tp + wrong)),
        "IoU-pooled": pooled,
        "mIoU": (pooled + background) / 2,
        "Dice": np.mean(_share(2 * tp, 2 * tp + wrong)),
        "accuracy": (tp.sum() + tn.sum()) / (tp.sum() + tn.sum() + wrong.sum()),
    }
    return {name: float(100 * share) for name, share in shares.items()}


def _share(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """part / whole; 1 where there is nothing."""
    return np.where(whole > 0, part / np.maximum(whole, 1), 1.0)
