import doctest
import itertools

import numpy as np
import pytest

from dsb2018.evaluation import matching
from dsb2018.evaluation.metrics import compute_scores

rng = np.random.default_rng(0)
# Rows of pixels: ground truth, prediction, expected Kaggle mAP, StarDist AP50, F1@50, PQ, AJI.
EXAMPLES = {
    "perfect": ([1, 1, 0, 2], [2, 2, 0, 1], (100, 100, 100, 100, 100)),
    "disjoint": ([1, 1, 0, 0], [0, 0, 1, 1], (0, 0, 0, 0, 0)),
    "missed": ([1, 1, 0, 2], [1, 1, 0, 0], (50, 50, 200 / 3, 200 / 3, 200 / 3)),
    # Each half has IoU 0.5: no match for Kaggle and PQ (IoU > 0.5), one match for StarDist
    # (IoU ≥ 0.5) with TP 1, FP 1, FN 0. AJI: 2 of 4 pixels, and the area of the other half is added
    # to the union: 2 / (4 + 2).
    "split": ([1, 1, 1, 1], [1, 1, 2, 2], (0, 50, 200 / 3, 0, 100 / 3)),
    # One prediction covers two nuclei with IoU 0.5 each, and can match one of them. AJI: each true
    # nucleus has 2 common pixels in a union of 4.
    "merged": ([1, 1, 2, 2], [1, 1, 1, 1], (0, 50, 200 / 3, 0, 50)),
    # IoU 0.75: for Kaggle it exceeds 5 of 10 thresholds, 0.50 to 0.70, but not 0.75.
    "three of four": ([1, 1, 1, 1], [1, 1, 1, 0], (50, 100, 100, 75, 75)),
    "no truth": ([0, 0, 0], [0, 1, 1], (0, 0, 0, 0, 0)),
    "no prediction": ([0, 1, 1], [0, 0, 0], (0, 0, 0, 0, 0)),
    "nothing at all": ([0, 0, 0], [0, 0, 0], (100, np.nan, np.nan, np.nan, 100)),
}


def row_layers(row):
    return np.array([[row]], np.int32)


@pytest.mark.parametrize("name", EXAMPLES)
def test_scores_of_small_examples(name):
    ground_truth, predicted, expected = EXAMPLES[name]
    images = [matching.compare(row_layers(ground_truth), row_layers(predicted)[0])]
    scores = (
        matching.kaggle_map(images),
        matching.average_precision(images, 0.5),
        matching.f1(images, 0.5),
        matching.panoptic_quality(images),
        matching.aji(images),
    )
    np.testing.assert_allclose(scores, expected, atol=1e-9)


def test_kaggle_and_stardist_thresholds():
    images = [matching.compare(row_layers([1, 1, 1, 1]), row_layers([1, 1, 1, 0])[0])]  # IoU 0.75
    assert images[0].kaggle_tp.tolist() == [1] * 5 + [0] * 5
    assert images[0].stardist_tp.tolist() == [1] * 6 + [0] * 3
    assert matching.average_precision(images, 0.75) == 100
    assert matching.average_precision(images, 0.8) == 0


def disc(radius, shift, size=64):
    y, x = np.mgrid[:size, :size] - size // 2
    return (y**2 + (x - shift) ** 2 <= radius**2).astype(np.int32)


@pytest.mark.parametrize("shift", [1, 3, 5])
def test_disc_moved_by_a_known_shift(shift):
    ground_truth, moved = disc(10, 0), disc(10, shift)
    expected = (ground_truth & moved).sum() / (ground_truth | moved).sum()
    iou = matching.iou_matrix(*matching.overlap_table(ground_truth[None], moved))
    np.testing.assert_allclose(iou, [[expected]])
    counts = matching.compare(ground_truth[None], moved)
    assert counts.kaggle_tp.tolist() == [int(expected > t) for t in matching.KAGGLE_THRESHOLDS]


def test_number_of_matches_is_maximal():
    # A greedy choice of the best pair (0.9) would leave the other true nucleus without a match.
    iou = np.array([[0.9, 0.5], [0.6, 0.0]])
    true, predicted = matching.match(iou, iou >= 0.5)
    assert sorted(zip(true.tolist(), predicted.tolist(), strict=True)) == [(0, 1), (1, 0)]


def test_overlapping_true_nuclei_in_layers():
    ground_truth = np.array([[[1, 1, 1, 0]], [[0, 0, 2, 2]]], np.uint8)
    table, true_areas, areas = matching.overlap_table(ground_truth, np.array([[7, 7, 7, 9]]))
    assert table.tolist() == [[3, 0], [1, 1]]
    assert (true_areas.tolist(), areas.tolist()) == ([3, 2], [3, 1])


def random_labels(count):
    """(40, 50) labels of rectangles that cover each other, with gaps in the numbering."""
    labels = np.zeros((40, 50), np.int32)
    for label in range(1, count + 1):
        y, x = rng.integers(0, 32), rng.integers(0, 40)
        labels[y : y + rng.integers(3, 12), x : x + rng.integers(3, 12)] = 2 * label
    return labels


def brute_force(ground_truth, predicted):
    """Computes the scores by their definitions, with loops over masks and without the package."""
    true_masks = [ground_truth == label for label in set(ground_truth.ravel().tolist()) - {0}]
    masks = [predicted == label for label in set(predicted.ravel().tolist()) - {0}]
    iou = [[(a & b).sum() / (a | b).sum() for b in masks] for a in true_masks]
    pairs = list(itertools.product(range(len(true_masks)), range(len(masks))))
    # Above IoU 0.5, no nucleus can have two matches. The matches are the pairs above a threshold.
    precision = []
    for threshold in (0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95):
        tp = sum(iou[t][p] > threshold for t, p in pairs)
        precision.append(tp / (len(true_masks) + len(masks) - tp))
    matched = [iou[t][p] for t, p in pairs if iou[t][p] > 0.5]
    unmatched = len(true_masks) + len(masks) - 2 * len(matched)
    quality = sum(matched) / (len(matched) + 0.5 * unmatched)
    intersection = union = 0
    used = set()
    for t, true_mask in enumerate(true_masks):
        best = max(range(len(masks)), key=lambda p: iou[t][p])
        if iou[t][best] > 0:
            used.add(best)
            intersection += (true_mask & masks[best]).sum()
            union += (true_mask | masks[best]).sum()
        else:
            union += true_mask.sum()
    union += sum(masks[p].sum() for p in range(len(masks)) if p not in used)
    return [100 * np.mean(precision), 100 * quality, 100 * intersection / union]


@pytest.mark.parametrize("case", range(8))
def test_scores_equal_brute_force(case):
    ground_truth = random_labels(25)
    predicted = np.roll(ground_truth, (case % 3, case // 3), (0, 1))
    predicted[:, 40:] = random_labels(10)[:, 40:]
    images = [matching.compare(ground_truth[None], predicted)]
    scores = [
        matching.kaggle_map(images),
        matching.panoptic_quality(images),
        matching.aji(images),
    ]
    np.testing.assert_allclose(scores, brute_force(ground_truth, predicted), rtol=1e-12)


def test_dataset_scores_are_pooled_or_averaged():
    good = matching.compare(row_layers([1, 2, 3]), row_layers([1, 2, 3])[0])  # 3 of 3 matched
    bad = matching.compare(row_layers([1, 0, 0]), row_layers([0, 0, 0])[0])  # 0 of 1 matched
    scores = compute_scores("nuclei", [good, bad])
    assert scores["mAP"] == 50  # mean over images
    assert scores["AP50"] == 75  # pooled: 3 / (3 + 0 + 1)
    np.testing.assert_allclose(scores["F1@50"], 600 / 7)
    assert scores["AJI"] == 50
    np.testing.assert_allclose(scores["count_error"], 25)  # 1 of 4


def test_no_images_give_nan():
    assert all(np.isnan(value) for value in compute_scores("nuclei", []).values())


@pytest.mark.parametrize(
    ("ground_truth", "predicted", "message"),
    [
        (np.zeros((1, 2, 2)), np.zeros((2, 2), int), "ground truth: labels of dtype float64"),
        (np.zeros((2, 2), int), np.zeros((2, 2), int), "ground truth: labels with 2 dimensions"),
        (np.zeros((1, 2, 2), int), np.zeros((2, 2), bool), "prediction: labels of dtype bool"),
        (np.zeros((1, 2, 2), int), -np.ones((2, 2), int), "prediction: negative label -1"),
        (np.zeros((1, 2, 2), int), np.zeros((2, 3), int), r"\(2, 3\) pixels, expected \(2, 2\)"),
    ],
)
def test_bad_labels_raise(ground_truth, predicted, message):
    with pytest.raises(ValueError, match=message):
        matching.compare(ground_truth, predicted)


def test_example_in_docstring():
    assert doctest.testmod(matching).failed == 0
