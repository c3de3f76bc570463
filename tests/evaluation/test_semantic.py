import numpy as np
import pytest

from dsb2018.evaluation.metrics import compute_scores
from dsb2018.evaluation.semantic import Pixels, count_pixels

# truth and prediction of 2×2 pixels, and IoU-pooled, mIoU, Dice, accuracy
HAND = {
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


@pytest.mark.parametrize("name", HAND)
def test_hand_made_squares(name):
    truth, predicted, expected = HAND[name]
    found = compute_scores("sem_seg", [count_pixels(square(truth), square(predicted))])
    names = ("IoU-pooled", "mIoU", "Dice", "accuracy")
    np.testing.assert_allclose([found[key] for key in names], expected)
    assert found["IoU"] == found["IoU-pooled"]  # of one image they are the same


def test_mean_over_images_and_pooled_differ():
    found = compute_scores(
        "sem_seg", [Pixels(tp=9, fp=1, fn=0, tn=0), Pixels(tp=0, fp=0, fn=0, tn=10)]
    )
    assert found["IoU"] == 95  # (0.9 + 1) / 2: an empty image that is left empty is right
    assert found["IoU-pooled"] == 90


def test_brute_force_agrees():
    rng = np.random.default_rng(0)
    pairs = [(rng.random((13, 17)) < 0.4, rng.random((13, 17)) < 0.5) for _ in range(5)]
    ious, total = [], np.zeros((2, 2), int)
    for truth, predicted in pairs:
        common = either = 0
        for a, b in zip(truth.ravel(), predicted.ravel(), strict=True):
            common += bool(a and b)
            either += bool(a or b)
            total[int(a), int(b)] += 1
        ious.append(common / either)
    nuclei = total[1, 1] / (total.sum() - total[0, 0])
    background = total[0, 0] / (total.sum() - total[1, 1])
    found = compute_scores("sem_seg", [count_pixels(*pair) for pair in pairs])
    np.testing.assert_allclose(found["IoU"], 100 * np.mean(ious))
    np.testing.assert_allclose(found["mIoU"], 50 * (nuclei + background))
    np.testing.assert_allclose(found["accuracy"], 100 * np.trace(total) / total.sum())


def test_no_images_give_nan():
    assert all(np.isnan(value) for value in compute_scores("sem_seg", []).values())


def test_bad_maps():
    with pytest.raises(ValueError, match="truth: a map of dtype int64, expected bool"):
        count_pixels(np.zeros((2, 2), int), np.zeros((2, 2), bool))
    with pytest.raises(ValueError, match=r"truth has \(2, 2\) pixels, predicted \(2, 3\)"):
        count_pixels(np.zeros((2, 2), bool), np.zeros((2, 3), bool))
