import numpy as np
import pytest
from scipy import stats

from dsb2018.evaluation import matching, semantic
from dsb2018.evaluation.nuclei_evaluator import ImageCounts
from dsb2018.report.bootstrap import (
    draw_images,
    interval,
    sample_scores,
    score_images,
)


def images_of(count, seed=0):
    """Images of 8 x 8 pixels with up to four nuclei, found more or less well."""
    rng = np.random.default_rng(seed)
    made = []
    for number in range(count):
        truth = np.kron(rng.integers(0, 3, (1, 2, 2)), np.ones((1, 4, 4), int))
        predicted = np.where(rng.random((8, 8)) < 0.2, 0, truth[0])
        pixels = semantic.count_pixels(truth[0] > 0, predicted > 0)
        modality = "histology" if number % 3 == 0 else "fluorescence"
        made.append(ImageCounts(str(number), modality, pixels, matching.compare(truth, predicted)))
    return made


def test_draws_are_of_all_images_and_always_the_same():
    draws = draw_images(7, rounds=500)
    assert draws.shape == (500, 7)
    assert set(draws.ravel()) == set(range(7))
    np.testing.assert_array_equal(draws, draw_images(7, rounds=500))
    assert (draws != draw_images(7, rounds=500, seed=1)).any()


def test_scores_of_chosen_images():
    images = images_of(6)
    found = score_images(images, None, [4, 1, 1])
    chosen = [images[4], images[1], images[1]]
    assert found["nuclei/mAP"] == matching.kaggle_map([image.counts for image in chosen])
    assert found["sem_seg/IoU"] == semantic.mean_iou([image.pixels for image in chosen])
    assert not any(name.startswith("segm/") for name in found)


def test_interval_of_a_mean_is_that_of_scipy():
    images = images_of(40)
    draws = draw_images(len(images), rounds=2000)
    samples = sample_scores(images, None, {"": range(len(images))}, draws)["sem_seg/IoU"]
    each = [semantic.mean_iou([image.pixels]) for image in images]
    expected = stats.bootstrap(
        (each,), np.mean, n_resamples=5000, method="percentile", rng=np.random.default_rng(5)
    ).confidence_interval
    found = interval(np.mean(each), samples)
    assert found.low == pytest.approx(expected.low, abs=0.3)
    assert found.high == pytest.approx(expected.high, abs=0.3)
    assert found.low < found.value < found.high


def test_groups_count_their_own_images():
    images = images_of(9)
    members = [index for index, image in enumerate(images) if image.modality == "histology"]
    draws = np.array([[0, 3, 3, 1, 2, 4, 5, 7, 8], [1, 1, 1, 1, 1, 1, 1, 1, 1]])
    samples = sample_scores(images, None, {"": range(9), "histology": members}, draws)
    own = matching.kaggle_map([images[index].counts for index in (0, 3, 3)])
    assert samples["nuclei/mAP/histology"][0] == pytest.approx(own)
    assert np.isnan(samples["nuclei/mAP/histology"][1])  # none was drawn
    one = matching.kaggle_map([images[1].counts])
    assert samples["nuclei/mAP"][1] == pytest.approx(one)


def test_interval_by_hand():
    samples = np.array([*range(101), np.nan], np.float32)
    assert interval(50.0, samples) == (50.0, 2.5, 97.5)
    low_and_high = interval(1.0, np.array([np.nan]))[1:]
    assert np.isnan(low_and_high).all()
