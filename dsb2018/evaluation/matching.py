"""Metrics of predicted nuclei: pure functions on label images.

The scores are computed in four steps: overlap table, IoU matrix, matches, totals over a dataset.

    >>> import numpy as np
    >>> ground_truth = np.array([[[1, 1, 0, 2]]], np.uint8)  # one layer, two nuclei
    >>> predicted = np.array([[1, 1, 0, 0]], np.uint8)  # the first nucleus only
    >>> counts = compare(ground_truth, predicted)
    >>> round(kaggle_map([counts]), 1), round(average_precision([counts], 0.5), 1)
    (50.0, 50.0)

Shapes: T is the number of true nuclei of an image, P that of predicted nuclei. All scores are in
percent.
"""

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import linear_sum_assignment

KAGGLE_THRESHOLDS = np.arange(50, 100, 5) / 100  # match: IoU > t
STARDIST_THRESHOLDS = np.arange(50, 95, 5) / 100  # match: IoU ≥ t


@dataclass(frozen=True)
class Counts:
    """The counts of one image from which all scores are computed.

    Args:
        true, predicted: number of true and of predicted nuclei.
        kaggle_tp: (10,) true positives at `KAGGLE_THRESHOLDS`.
        stardist_tp: (9,) true positives at `STARDIST_THRESHOLDS`.
        panoptic_tp, panoptic_iou: number of matches with IoU > 0.5, and sum of their IoU.
        aji_intersection, aji_union: number of pixels, see `aji`.
    """

    true: int
    predicted: int
    kaggle_tp: np.ndarray
    stardist_tp: np.ndarray
    panoptic_tp: int
    panoptic_iou: float
    aji_intersection: int
    aji_union: int


def overlap_table(ground_truth: np.ndarray, predicted: np.ndarray) -> tuple[np.ndarray, ...]:
    """Counts the common pixels of each true and each predicted nucleus.

    Args:
        ground_truth: (L, H, W) integer label layers, 0 is background. Each label is in one layer.
        predicted: (H, W) integer labels, 0 is background.

    Returns:
        (T, P) int64 numbers of common pixels, and (T,) and (P,) int64 areas in pixels. Nuclei are
        sorted by label; unused labels are skipped.

    Raises:
        ValueError: labels are not integers, are negative, or have different shapes.
    """
    _check_labels(ground_truth, predicted)
    true_count = int(ground_truth.max(initial=0)) + 1
    predicted_count = int(predicted.max(initial=0)) + 1
    flat = predicted.ravel().astype(np.int64)
    table = np.zeros((true_count, predicted_count), np.int64)
    for layer in ground_truth:
        pairs = layer.ravel().astype(np.int64) * predicted_count + flat
        table += np.bincount(pairs, minlength=table.size).reshape(table.shape)
    predicted_areas = np.bincount(flat, minlength=predicted_count)[1:]
    true_areas = table.sum(axis=1)[1:]
    table = table[1:, 1:][true_areas > 0][:, predicted_areas > 0]
    return table, true_areas[true_areas > 0], predicted_areas[predicted_areas > 0]


def _check_labels(ground_truth: np.ndarray, predicted: np.ndarray) -> None:
    for name, array, ndim in (("ground truth", ground_truth, 3), ("prediction", predicted, 2)):
        if not np.issubdtype(array.dtype, np.integer):
            raise ValueError(f"{name}: labels of dtype {array.dtype}, expected an integer type")
        if array.ndim != ndim:
            raise ValueError(f"{name}: labels with {array.ndim} dimensions, expected {ndim}")
        if array.size and array.min() < 0:
            raise ValueError(f"{name}: negative label {array.min()}, expected 0 or more")
    if ground_truth.shape[1:] != predicted.shape:
        raise ValueError(
            f"prediction: {predicted.shape} pixels, expected {ground_truth.shape[1:]} as in the "
            "ground truth"
        )


def iou_matrix(table: np.ndarray, true_areas: np.ndarray, areas: np.ndarray) -> np.ndarray:
    """Computes the (T, P) float64 IoU, 0 to 1, from the results of `overlap_table`."""
    return table / (true_areas[:, None] + areas[None] - table)


def match(iou: np.ndarray, allowed: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Matches true and predicted nuclei one to one.

    The number of matches is maximized first, then the sum of their IoU.

    Args:
        iou: (T, P) intersection over union, 0 to 1.
        allowed: (T, P) bool, True for pairs that may match.

    Returns:
        Indices of the matched true nuclei and of the matched predicted nuclei.
    """
    true, predicted = np.nonzero(allowed)
    if len(set(true)) == len(true) and len(set(predicted)) == len(predicted):
        return true, predicted  # no conflicts, as nearly always above IoU 0.5
    max_matches = min(iou.shape)
    true, predicted = linear_sum_assignment(allowed + iou / (2 * max_matches), maximize=True)
    is_match = allowed[true, predicted]
    return true[is_match], predicted[is_match]


def compare(ground_truth: np.ndarray, predicted: np.ndarray) -> Counts:
    """Compares the labels of one image. See `overlap_table` for arguments and errors."""
    table, true_areas, areas = overlap_table(ground_truth, predicted)
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
    """Returns the sums of the intersections and of the unions of the AJI, in pixels; see `aji`."""
    if not table.size:
        return 0, int(true_areas.sum() + areas.sum())
    best = iou_matrix(table, true_areas, areas).argmax(axis=1)
    common = table[np.arange(len(table)), best]
    is_matched = common > 0
    union = true_areas.sum() + areas[best[is_matched]].sum() - common.sum()
    unused = np.setdiff1d(np.arange(len(areas)), best[is_matched])
    return int(common.sum()), int(union + areas[unused].sum())


def kaggle_map(images: Sequence[Counts]) -> float:
    """Computes the score of the 2018 Data Science Bowl.

    This is the mean over images of the mean over the IoU thresholds 0.50 to 0.95 of
    TP / (TP + FP + FN). A match has IoU > t. An image without true and predicted nuclei scores 100.
    """
    scores = []
    for image in images:
        totals = image.true + image.predicted - image.kaggle_tp  # TP + FP + FN
        scores.append(np.mean(image.kaggle_tp / totals) if totals.min() else 1.0)
    return _percent(float(np.mean(scores))) if scores else float("nan")


def average_precision(images: Sequence[Counts], threshold: float) -> float:
    """Computes AP as StarDist defines it: TP / (TP + FP + FN), pooled over images.

    Args:
        images: counts of the images of a dataset.
        threshold: one of `STARDIST_THRESHOLDS`. A match has IoU ≥ t.
    """
    tp = _stardist_tp(images, threshold)
    return _ratio(tp, _count_nuclei(images) - tp)


def ap_at(threshold: float) -> Callable[[Sequence[Counts]], float]:
    """Returns `average_precision` with a fixed threshold."""
    return functools.partial(average_precision, threshold=threshold)


def f1_at(threshold: float) -> Callable[[Sequence[Counts]], float]:
    """Returns `f1` with a fixed threshold."""
    return functools.partial(f1, threshold=threshold)


def f1(images: Sequence[Counts], threshold: float) -> float:
    """Computes 2 TP / (2 TP + FP + FN), pooled over images. A match has IoU ≥ t."""
    return _ratio(2 * _stardist_tp(images, threshold), _count_nuclei(images))


def panoptic_quality(images: Sequence[Counts]) -> float:
    """Computes the PQ of Kirillov et al. (2019), pooled over images.

    PQ is the sum of the IoU of the matches, divided by TP + FP/2 + FN/2. A match has IoU > 0.5.
    """
    return _ratio(sum(image.panoptic_iou for image in images), _count_nuclei(images) / 2)


def aji(images: Sequence[Counts]) -> float:
    """Computes the aggregated Jaccard index (AJI) of Kumar et al. (2017), mean over images.

    Each true nucleus is paired with the predicted nucleus of the highest IoU. A predicted nucleus
    may be in several pairs. The index is the sum of the intersections divided by the sum of the
    unions; the areas of nuclei without a partner are added to the unions. An image without true and
    predicted nuclei scores 100.
    """
    if not images:
        return float("nan")
    ratios = [
        image.aji_intersection / image.aji_union if image.aji_union else 1.0 for image in images
    ]
    return _percent(float(np.mean(ratios)))


def count_error(images: Sequence[Counts]) -> float:
    """Computes the sum over images of |predicted - true| nuclei, in percent of all true nuclei."""
    return _ratio(
        sum(abs(image.predicted - image.true) for image in images),
        sum(image.true for image in images),
    )


def _stardist_tp(images: Sequence[Counts], threshold: float) -> int:
    index = int(np.argmin(np.abs(STARDIST_THRESHOLDS - threshold)))
    return sum(int(image.stardist_tp[index]) for image in images)


def _count_nuclei(images: Sequence[Counts]) -> int:
    return sum(image.true + image.predicted for image in images)


def _ratio(numerator: float, denominator: float) -> float:
    return _percent(numerator / denominator) if denominator else float("nan")


def _percent(share: float) -> float:
    return float(100 * share)
