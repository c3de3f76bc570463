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


def random_counts(count, seed=0):
    """Returns counts of images of 8 x 8 pixels with up to four nuclei and imperfect predictions."""
    rng = np.random.default_rng(seed)
    images = []
    for number in range(count):
        truth = np.kron(rng.integers(0, 3, (1, 2, 2)), np.ones((1, 4, 4), int))
        predicted = np.where(rng.random((8, 8)) < 0.2, 0, truth[0])
        pixels = semantic.count_pixels(truth[0] > 0, predicted > 0)
        modality = "histology" if number % 3 == 0 else "fluorescence"
        counts = matching.compare(truth, predicted)
        images.append(ImageCounts(str(number), modality, pixels, counts))
    return images


def test_draws_contain_all_images_and_are_reproducible():
    draws = draw_images(7, rounds=500)
    assert draws.shape == (500, 7)
    assert set(draws.ravel()) == set(range(7))
    np.testing.assert_array_equal(draws, draw_images(7, rounds=500))
    assert (draws != draw_images(7, rounds=500, seed=1)).any()


def test_scores_of_selected_images():
    images = random_counts(6)
    scores = score_images(images, None, [4, 1, 1])
    selection = [images[4], images[1], images[1]]
    assert scores["nuclei/mAP"] == matching.kaggle_map([image.counts for image in selection])
    assert scores["sem_seg/IoU"] == semantic.mean_iou([image.pixels for image in selection])
    assert not any(name.startswith("segm/") for name in scores)


def test_interval_of_a_mean_equals_scipy():
    images = random_counts(40)
    draws = draw_images(len(images), rounds=2000)
    samples = sample_scores(images, None, {"": range(len(images))}, draws)["sem_seg/IoU"]
    ious = [semantic.mean_iou([image.pixels]) for image in images]
    expected = stats.bootstrap(
        (ious,), np.mean, n_resamples=5000, method="percentile", rng=np.random.default_rng(5)
    ).confidence_interval
    result = interval(np.mean(ious), samples)
    assert result.low == pytest.approx(expected.low, abs=0.3)
    assert result.high == pytest.approx(expected.high, abs=0.3)
    assert result.low < result.value < result.high


def test_group_scores_use_only_images_of_the_group():
    images = random_counts(9)
    members = [index for index, image in enumerate(images) if image.modality == "histology"]
    draws = np.array([[0, 3, 3, 1, 2, 4, 5, 7, 8], [1, 1, 1, 1, 1, 1, 1, 1, 1]])
    samples = sample_scores(images, None, {"": range(9), "histology": members}, draws)
    expected = matching.kaggle_map([images[index].counts for index in (0, 3, 3)])
    assert samples["nuclei/mAP/histology"][0] == pytest.approx(expected)
    assert np.isnan(samples["nuclei/mAP/histology"][1])  # no image of the group was drawn
    expected = matching.kaggle_map([images[1].counts])
    assert samples["nuclei/mAP"][1] == pytest.approx(expected)


def test_interval_of_known_percentiles():
    samples = np.array([*range(101), np.nan], np.float32)
    assert interval(50.0, samples) == (50.0, 2.5, 97.5)
    bounds = interval(1.0, np.array([np.nan]))[1:]
    assert np.isnan(bounds).all()
