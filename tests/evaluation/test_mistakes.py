import numpy as np
import pytest

from dsb2018.evaluation import matching
from dsb2018.evaluation.mistakes import KINDS, find_mistakes

# Rows of pixels: ground truth, prediction, expected kinds of the true and of the predicted nuclei.
EXAMPLES = {
    "perfect": ([1, 1, 0, 2], [7, 7, 0, 3], "found found", "found found"),
    "missed and false": ([1, 1, 0, 0], [0, 0, 5, 5], "missed", "false"),
    "too far off": ([1, 1, 1, 0, 0], [0, 0, 1, 1, 1], "missed", "false"),
    "halves": ([1, 1, 1, 1], [1, 1, 2, 2], "found", "found split"),
    "thirds": ([1] * 6, [1, 1, 2, 2, 3, 3], "split", "split split split"),
    "two of four": ([1, 1, 2, 2, 3, 3], [1, 1, 1, 1, 1, 1], "merged merged merged", "merged"),
    # The prediction matches the large nucleus and covers the small one.
    "covered": ([1, 1, 1, 1, 2], [1, 1, 1, 1, 1], "found merged", "found"),
    # The prediction has exactly half of the second true nucleus, not more.
    "touched": ([1, 1, 1, 2, 2], [1, 1, 1, 1, 0], "found missed", "found"),
    "no truth": ([0, 0, 0], [0, 1, 1], "", "false"),
    "no prediction": ([0, 1, 1], [0, 0, 0], "missed", ""),
    "nothing at all": ([0, 0], [0, 0], "", ""),
}


@pytest.mark.parametrize("name", EXAMPLES)
def test_kinds_of_small_examples(name):
    ground_truth, predicted, true_kinds, kinds = EXAMPLES[name]
    mistakes = find_mistakes(np.array([[ground_truth]], np.uint8), np.array([predicted], np.int32))
    assert mistakes.true_kinds.tolist() == true_kinds.split()
    assert mistakes.predicted_kinds.tolist() == kinds.split()
    true_labels, labels = np.unique(ground_truth), np.unique(predicted)
    np.testing.assert_array_equal(mistakes.true_labels, true_labels[true_labels > 0])
    np.testing.assert_array_equal(mistakes.predicted_labels, labels[labels > 0])


def test_kinds_agree_with_the_scores():
    rng = np.random.default_rng(0)
    for _ in range(20):
        ground_truth = np.kron(rng.integers(0, 12, (1, 6, 6)), np.ones((1, 4, 4), int))
        predicted = np.roll(ground_truth[0], rng.integers(-2, 3, 2), (0, 1))
        predicted = np.where(rng.random(predicted.shape) < 0.1, 13, predicted)
        predicted[predicted == rng.integers(1, 12)] = rng.integers(1, 12)
        mistakes = find_mistakes(ground_truth, predicted)
        counts = matching.compare(ground_truth, predicted)
        numbers = mistakes.count()
        assert list(numbers) == list(KINDS)
        assert numbers["found"] == counts.stardist_tp[0]
        assert sum(numbers[kind] for kind in ("found", "missed", "split", "merged")) == counts.true
        unmatched = np.count_nonzero(mistakes.predicted_kinds != "found")
        assert unmatched == counts.predicted - counts.stardist_tp[0]


def test_overlapping_true_nuclei():
    ground_truth = np.array([[[1, 1, 1, 0]], [[0, 2, 2, 2]]], np.uint8)
    mistakes = find_mistakes(ground_truth, np.array([[1, 1, 1, 0]], np.int32))
    assert mistakes.true_kinds.tolist() == ["found", "merged"]
