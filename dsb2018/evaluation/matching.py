"""How well predicted nuclei match true ones: pure functions on label images.

The way from images to scores: overlap table → IoU matrix → matches → totals over a dataset.

    >>> import numpy as np
    >>> truth = np.array([[[1, 1, 0, 2]]], np.uint8)   # one layer, two nuclei
    >>> predicted = np.array([[1, 1, 0, 0]], np.uint8)  # one of them found
    >>> counts = compare(truth, predicted)
    >>> round(kaggle_map([counts]), 1), round(average_precision([counts], 0.5), 1)
    (50.0, 50.0)

Shapes: T true and P predicted nuclei of one image. All scores are in percent.
"""

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import linear_sum_assignment

KAGGLE_THRESHOLDS = np.arange(50, 100, 5) / 100  # a match is IoU > t
STARDIST_THRESHOLDS = np.arange(50, 95, 5) / 100  # a match is IoU ≥ t


@dataclass(frozen=True)
class Counts:
    """All that the scores need to know of one image.

    Args:
        true, predicted: number of nuclei.
        kaggle_tp: (10,) true positives at `KAGGLE_THRESHOLDS`.
        stardist_tp: (9,) true positives at `STARDIST_THRESHOLDS`.
        panoptic_tp, panoptic_iou: matches of IoU > 0.5, and the sum of their IoU.
        aji_intersection, aji_union: pixels, see `aji`.
    """

    true: int
    predicted: int
    kaggle_tp: np.ndarray
    stardist_tp: np.ndarray
    panoptic_tp: int
    panoptic_iou: float
    aji_intersection: int
    aji_union: int


def overlap_table(truth: np.ndarray, predicted: np.ndarray) -> tuple[np.ndarray, ...]:
    """Common pixels of each true and each predicted nucleus.

    Args:
        truth: (L, H, W) integer label layers, 0 is background; a label stands in one layer.
        predicted: (H, W) integer labels, 0 is background.

    Returns:
        (T, P) int64 common pixels, (T,) and (P,) int64 areas in pixels; in the order of the
        labels. Labels that no pixel has are no nuclei.

    Raises:
        ValueError: not integer, negative, or of other shapes.
    """
    _check(truth, predicted)
    true_count, predicted_count = int(truth.max(initial=0)) + 1, int(predicted.max(initial=0)) + 1
    flat = predicted.ravel().astype(np.int64)
    table = np.zeros((true_count, predicted_count), np.int64)
    for layer in truth:
        pairs = layer.ravel().astype(np.int64) * predicted_count + flat
        table += np.bincount(pairs, minlength=table.size).reshape(table.shape)
    predicted_areas = np.bincount(flat, minlength=predicted_count)[1:]
    true_areas = table.sum(axis=1)[1:]
    table = table[1:, 1:][true_areas > 0][:, predicted_areas > 0]
    return table, true_areas[true_areas > 0], predicted_areas[predicted_areas > 0]


def _check(truth: np.ndarray, predicted: np.ndarray) -> None:
    for name, array, ndim in (("truth", truth, 3), ("predicted", predicted, 2)):
        if not np.issubdtype(array.dtype, np.integer):
            raise ValueError(f"{name}: labels of dtype {array.dtype}, expected an integer type")
        if array.ndim != ndim:
            raise ValueError(f"{name}: labels of {array.ndim} dimensions, expected {ndim}")
        if array.size and array.min() < 0:
            raise ValueError(f"{name}: negative label {array.min()}, expected 0 or more")
    if truth.shape[1:] != predicted.shape:
        raise ValueError(f"truth has {truth.shape[1:]} pixels, predicted {predicted.shape}")


def iou_matrix(table: np.ndarray, true_areas: np.ndarray, areas: np.ndarray) -> np.ndarray:
    """(T, P) float64 intersection over union, 0 to 1, from an overlap table."""
    return table / (true_areas[:, None] + areas[None] - table)


def match(iou: np.ndarray, allowed: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """One-to-one matches: as many as there can be, and of these the ones with most IoU.

    Args:
        iou: (T, P) intersection over union, 0 to 1.
        allowed: (T, P) bool, which pairs count as a match.

    Returns:
        Indices of the matched true and of the matched predicted nuclei.
    """
    true, predicted = np.nonzero(allowed)
    if len(set(true)) == len(true) and len(set(predicted)) == len(predicted):
        return true, predicted  # nobody competes: so it is nearly always above IoU 0.5
    most = min(iou.shape)
    true, predicted = linear_sum_assignment(allowed + iou / (2 * most), maximize=True)
    kept = allowed[true, predicted]
    return true[kept], predicted[kept]


def compare(truth: np.ndarray, predicted: np.ndarray) -> Counts:
    """Compares the labels of one image; arguments and errors as in `overlap_table`."""
    table, true_areas, areas = overlap_table(truth, predicted)
    iou = iou_matrix(table, true_areas, areas)
    pairs = match(iou, iou > 0.5)
    intersection, union = _aji_pixels(table, true_areas, areas)
    return Counts(
        true=len(true_areas),
        predicted=len(areas),
        kaggle_tp=np.array([len(match(iou, iou > t)[0]) for t in KAGGLE_THRESHOLDS]),
        stardist_tp=np.array([len(match(iou, iou >= t)[0]) for t in STARDIST_THRESHOLDS]),
        panoptic_tp=len(pairs[0]),
        panoptic_iou=float(iou[pairs].sum()),
        aji_intersection=intersection,
        aji_union=union,
    )


def _aji_pixels(table: np.ndarray, true_areas: np.ndarray, areas: np.ndarray) -> tuple[int, int]:
    """Intersection and union of each true nucleus with its best prediction, added up; what has no
    partner adds its area to the union."""
    if not table.size:
        return 0, int(true_areas.sum() + areas.sum())
    best = iou_matrix(table, true_areas, areas).argmax(axis=1)
    common = table[np.arange(len(table)), best]
    found = common > 0
    union = true_areas.sum() + areas[best[found]].sum() - common.sum()
    unused = np.setdiff1d(np.arange(len(areas)), best[found])
    return int(common.sum()), int(union + areas[unused].sum())


def kaggle_map(images: Sequence[Counts]) -> float:
    """The score of the 2018 Data Science Bowl: mean over images of the mean over IoU thresholds
    0.50 to 0.95 of TP / (TP + FP + FN), a match is IoU > t; without nuclei on both sides: 100."""
    scores = []
    for image in images:
        everything = image.true + image.predicted - image.kaggle_tp
        scores.append(np.mean(image.kaggle_tp / everything) if everything.min() else 1.0)
    return _percent(np.mean(scores)) if scores else float("nan")


def average_precision(images: Sequence[Counts], threshold: float) -> float:
    """AP as StarDist defines it: TP / (TP + FP + FN), pooled over images; a match is IoU ≥ t.

    Args:
        images: of a dataset.
        threshold: one of `STARDIST_THRESHOLDS`.
    """
    tp = _stardist_tp(images, threshold)
    return _ratio(tp, _nuclei(images) - tp)


def ap_at(threshold: float) -> Callable[[Sequence[Counts]], float]:
    """`average_precision` at one threshold."""
    return functools.partial(average_precision, threshold=threshold)


def f1_at(threshold: float) -> Callable[[Sequence[Counts]], float]:
    """`f1` at one threshold."""
    return functools.partial(f1, threshold=threshold)


def f1(images: Sequence[Counts], threshold: float) -> float:
    """2 TP / (2 TP + FP + FN), pooled over images; a match is IoU ≥ t."""
    return _ratio(2 * _stardist_tp(images, threshold), _nuclei(images))


def panoptic_quality(images: Sequence[Counts]) -> float:
    """PQ of Kirillov et al. (2019): sum of the matches' IoU / (TP + FP/2 + FN/2), pooled over
    images; a match is IoU > 0.5."""
    return _ratio(sum(image.panoptic_iou for image in images), _nuclei(images) / 2)


def aji(images: Sequence[Counts]) -> float:
    """Aggregated Jaccard index of Kumar et al. (2017), mean over images: each true nucleus is
    joined with the prediction of most IoU, which may serve several; intersections over unions,
    where what has no partner counts to the union. Without nuclei on both sides: 100."""
    if not images:
        return float("nan")
    ratios = [i.aji_intersection / i.aji_union if i.aji_union else 1.0 for i in images]
    return _percent(np.mean(ratios))


def count_error(images: Sequence[Counts]) -> float:
    """Sum over images of |predicted - true| nuclei, in percent of all true nuclei."""
    return _ratio(
        sum(abs(image.predicted - image.true) for image in images),
        sum(image.true for image in images),
    )


def _stardist_tp(images: Sequence[Counts], threshold: float) -> int:
    index = int(np.argmin(np.abs(STARDIST_THRESHOLDS - threshold)))
    return sum(int(image.stardist_tp[index]) for image in images)


def _nuclei(images: Sequence[Counts]) -> int:
    return sum(image.true + image.predicted for image in images)


def _ratio(numerator: float, denominator: float) -> float:
    return _percent(numerator / denominator) if denominator else float("nan")


def _percent(share: float) -> float:
    return float(100 * share)
