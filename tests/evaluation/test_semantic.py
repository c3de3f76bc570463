import numpy as np
import pytest

from dsb2018.evaluation.metrics import compute_scores
from dsb2018.evaluation.semantic import Pixels, count_pixels

# 2×2 pixels: ground truth, prediction, and expected IoU-pooled, mIoU, Dice, accuracy.
EXAMPLES = {
    "perfect": ([1, 1, 0, 0], [1, 1, 0, 0], (100, 100, 100, 100)),
    "disjoint": ([1, 1, 0, 0], [0, 0, 1, 1], (0, 0, 0, 0)),
    "half": ([1, 1, 0, 0], [1, 0, 0, 0], (50, (50 + 200 / 3) / 2, 200 / 3, 75)),
    "too much": ([1, 0, 0, 0], [1, 1, 0, 0], (50, (50 + 200 / 3) / 2, 200 / 3, 75)),
    "missed": ([1, 0, 0, 0], [0, 0, 0, 0], (0, 37.5, 0, 75)),
    "empty truth": ([0, 0, 0, 0], [1, 0, 0, 0], (0, 37.5, 0, 75)),
    "both empty": ([0, 0, 0, 0], [0, 0, 0, 0], (100, 100, 100, 100)),
    "both full": ([1, 1, 1, 1], [1, 1, 1, 1], (100, 100, 100, 100)),
}


def square(values):
    return np.array(values, bool).reshape(2, 2)


@pytest.mark.parametrize("name", EXAMPLES)
def test_scores_of_small_examples(name):
    ground_truth, predicted, expected = EXAMPLES[name]
    scores = compute_scores("sem_seg", [count_pixels(square(ground_truth), square(predicted))])
    names = ("IoU-pooled", "mIoU", "Dice", "accuracy")
    np.testing.assert_allclose([scores[key] for key in names], expected)
    assert scores["IoU"] == scores["IoU-pooled"]  # equal for a single image


def test_mean_iou_and_pooled_iou():
    scores = compute_scores(
        "sem_seg", [Pixels(tp=9, fp=1, fn=0, tn=0), Pixels(tp=0, fp=0, fn=0, tn=10)]
    )
    assert scores["IoU"] == 95  # (0.9 + 1) / 2: an empty prediction of an empty image scores 1
    assert scores["IoU-pooled"] == 90


def test_scores_equal_brute_force():
    rng = np.random.default_rng(0)
    pairs = [(rng.random((13, 17)) < 0.4, rng.random((13, 17)) < 0.5) for _ in range(5)]
    ious, total = [], np.zeros((2, 2), int)
    for ground_truth, predicted in pairs:
        intersection = union = 0
        for a, b in zip(ground_truth.ravel(), predicted.ravel(), strict=True):
            intersection += bool(a and b)
            union += bool(a or b)
            total[int(a), int(b)] += 1
        ious.append(intersection / union)
    nuclei = total[1, 1] / (total.sum() - total[0, 0])
    background = total[0, 0] / (total.sum() - total[1, 1])
    scores = compute_scores("sem_seg", [count_pixels(*pair) for pair in pairs])
    np.testing.assert_allclose(scores["IoU"], 100 * np.mean(ious))
    np.testing.assert_allclose(scores["mIoU"], 50 * (nuclei + background))
    np.testing.assert_allclose(scores["accuracy"], 100 * np.trace(total) / total.sum())


def test_no_images_give_nan():
    assert all(np.isnan(value) for value in compute_scores("sem_seg", []).values())


def test_bad_maps_raise():
    with pytest.raises(ValueError, match="ground truth: a map of dtype int64, expected bool"):
        count_pixels(np.zeros((2, 2), int), np.zeros((2, 2), bool))
    with pytest.raises(ValueError, match=r"prediction: \(2, 3\) pixels, expected \(2, 2\)"):
        count_pixels(np.zeros((2, 2), bool), np.zeros((2, 3), bool))
