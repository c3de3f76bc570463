import numpy as np
import pytest

from dsb2018.evaluation import matching
from dsb2018.evaluation.mistakes import KINDS, find_mistakes

# One row of pixels each. Expected: kinds of the true nuclei, and of the predicted ones.
HAND = {
    "perfect": ([1, 1, 0, 2], [7, 7, 0, 3], "found found", "found found"),
    "missed and false": ([1, 1, 0, 0], [0, 0, 5, 5], "missed", "false"),
    "too far off": ([1, 1, 1, 0, 0], [0, 0, 1, 1, 1], "missed", "false"),
    "halves": ([1, 1, 1, 1], [1, 1, 2, 2], "found", "found split"),
    "thirds": ([1] * 6, [1, 1, 2, 2, 3, 3], "split", "split split split"),
    "two of four": ([1, 1, 2, 2, 3, 3], [1, 1, 1, 1, 1, 1], "merged merged merged", "merged"),
    # The prediction is a match of the large one, and swallows the small one.
    "swallowed": ([1, 1, 1, 1, 2], [1, 1, 1, 1, 1], "found merged", "found"),
    # Half of the second true nucleus is not more than half.
    "touched": ([1, 1, 1, 2, 2], [1, 1, 1, 1, 0], "found missed", "found"),
    "no truth": ([0, 0, 0], [0, 1, 1], "", "false"),
    "no prediction": ([0, 1, 1], [0, 0, 0], "missed", ""),
    "nothing at all": ([0, 0], [0, 0], "", ""),
}


@pytest.mark.parametrize("name", HAND)
def test_hand_made_rows(name):
    truth, predicted, true_kinds, kinds = HAND[name]
    found = find_mistakes(np.array([[truth]], np.uint8), np.array([predicted], np.int32))
    assert found.true_kinds.tolist() == true_kinds.split()
    assert found.predicted_kinds.tolist() == kinds.split()
    np.testing.assert_array_equal(found.true_labels, np.unique(truth)[np.unique(truth) > 0])
    np.testing.assert_array_equal(
        found.predicted_labels, np.unique(predicted)[np.unique(predicted) > 0]
    )


def test_numbers_agree_with_the_scores():
    rng = np.random.default_rng(0)
    for _ in range(20):
        truth = np.kron(rng.integers(0, 12, (1, 6, 6)), np.ones((1, 4, 4), int))
        predicted = np.roll(truth[0], rng.integers(-2, 3, 2), (0, 1))
        predicted = np.where(rng.random(predicted.shape) < 0.1, 13, predicted)
        predicted[predicted == rng.integers(1, 12)] = rng.integers(1, 12)
        mistakes, counts = find_mistakes(truth, predicted), matching.compare(truth, predicted)
        number = mistakes.count()
        assert list(number) == list(KINDS)
        assert number["found"] == counts.stardist_tp[0]
        assert sum(number[kind] for kind in ("found", "missed", "split", "merged")) == counts.true
        others = np.count_nonzero(mistakes.predicted_kinds != "found")
        assert others == counts.predicted - counts.stardist_tp[0]


def test_a_nucleus_in_a_second_layer_counts():
    truth = np.array([[[1, 1, 1, 0]], [[0, 2, 2, 2]]], np.uint8)
    found = find_mistakes(truth, np.array([[1, 1, 1, 0]], np.int32))
    assert found.true_kinds.tolist() == ["found", "merged"]
