import numpy as np
import pytest
from scipy import ndimage
from skimage.morphology import local_maxima, reconstruction

from dsb2018.data.targets import interior_map
from dsb2018.evaluation import matching
from dsb2018.runtime.peaks import add_seedless, find_peaks, reconstruct
from dsb2018.runtime.postprocess import (
    InstanceOptions,
    Maps,
    drop_small,
    fill_holes,
    find_nuclei,
    postprocess,
    score_nuclei,
)
from dsb2018.structures.instances import to_instances
from dsb2018.structures.labels import label_components

WATERSHED = InstanceOptions("watershed", seeds="distance", seed_depth=0.5)
PEAKS = InstanceOptions("watershed", seeds="map", seed_depth=0.2)


def disc(y, x, radius, shape=(40, 60)):
    rows, columns = np.indices(shape)
    return (rows - y) ** 2 + (columns - x) ** 2 <= radius**2


@pytest.fixture
def touching():
    """(1, 40, 60) label layers: two discs that touch, and a third one."""
    labels = np.zeros((1, 40, 60), np.uint8)
    for label, (y, x, radius) in enumerate([(18, 15, 9), (18, 32, 9), (30, 52, 5)], start=1):
        labels[0][disc(y, x, radius)] = label
    return labels


def test_components_merge_touching_nuclei(touching):
    nucleus = (touching[0] > 0).astype(np.float32)
    labels = find_nuclei(Maps(nucleus, None), InstanceOptions())
    assert labels.max() == 2
    np.testing.assert_array_equal(labels > 0, touching[0] > 0)


@pytest.mark.parametrize("separation", ["none", "border", "distance"])
@pytest.mark.parametrize("options", [WATERSHED, PEAKS])
def test_watershed_divides_touching_nuclei(touching, separation, options):
    nucleus = (touching[0] > 0).astype(np.float32)
    labels = find_nuclei(Maps(nucleus, interior_map(touching, separation)), options)
    assert labels.dtype == np.int32
    np.testing.assert_array_equal(labels > 0, touching[0] > 0)
    assert matching.kaggle_map([matching.compare(touching, labels)]) > 85


@pytest.mark.parametrize("options", [InstanceOptions(), WATERSHED])
@pytest.mark.parametrize("interior", [None, np.zeros((9, 9), np.float32)])
def test_maps_without_nuclei(options, interior):
    prediction = postprocess(Maps(np.zeros((9, 9), np.float32), interior), options)
    assert len(prediction.nuclei) == len(prediction.detections) == 0
    assert prediction.nuclei.size == prediction.foreground.shape == (9, 9)
    instances = to_instances(prediction.detections)
    assert instances.pred_masks.shape == (0, 9, 9)
    assert instances.pred_boxes.tensor.shape == (0, 4)
    assert instances.scores.shape == (0,)


def test_nucleus_without_seed_is_kept():
    nucleus = (disc(10, 10, 4) | disc(10, 40, 8)).astype(np.float32)
    interior = disc(10, 40, 3).astype(np.float32)  # no seed in the small nucleus
    assert find_nuclei(Maps(nucleus, interior), WATERSHED).max() == 2


def test_thresholds():
    nucleus = np.array([[0.2, 0.4, 0.6, 0, 0.9]], np.float32)
    labels = find_nuclei(Maps(nucleus, None), InstanceOptions(nucleus_thresh=0.4))
    np.testing.assert_array_equal(labels, [[0, 1, 1, 0, 2]])
    nucleus = disc(20, 30, 15).astype(np.float32)
    interior = nucleus * 0.9
    interior[:, 29:32] *= 0.6  # a faint line through the middle
    for thresh, count in ((0.4, 1), (0.6, 2), (0.95, 1)):
        options = InstanceOptions("watershed", seeds="distance", seed_thresh=thresh)
        assert find_nuclei(Maps(nucleus, interior), options).max() == count


def test_squares_that_touch_at_a_corner_are_kept():
    nucleus = np.zeros((16, 16), np.float32)
    nucleus[2:8, 2:8] = nucleus[8:14, 8:14] = 1
    interior = np.zeros_like(nucleus)
    interior[4, 4] = 1  # one seed for both squares
    np.testing.assert_array_equal(find_nuclei(Maps(nucleus, interior), WATERSHED), nucleus)


@pytest.mark.parametrize("with_interior", [True, False])
def test_watershed_keeps_all_pixels(with_interior):
    rng = np.random.default_rng(0)
    for _ in range(5):
        nucleus, interior = rng.random((2, 40, 50)).astype(np.float32)
        labels = find_nuclei(Maps(nucleus, interior if with_interior else None), WATERSHED)
        np.testing.assert_array_equal(labels > 0, nucleus >= 0.5)
        assert labels.max() >= label_components(nucleus >= 0.5).max()


def test_limit_keeps_the_best_instances():
    nucleus = np.zeros((3, 9), np.float32)
    nucleus[1, 1], nucleus[1, 4], nucleus[1, 7] = 0.7, 0.9, 0.8
    prediction = postprocess(Maps(nucleus, None), InstanceOptions())
    instances = to_instances(prediction.detections, limit=2)
    np.testing.assert_allclose(instances.scores, [0.9, 0.8], rtol=1e-6)
    np.testing.assert_array_equal(instances.pred_boxes.tensor[:, 0], [4, 7])


def test_seed_depth():
    """Two discs of radius 9 overlap a little. A small depth divides them, a large one does not."""
    nucleus = (disc(18, 15, 9) | disc(18, 29, 9)).astype(np.float32)
    for depth, count in ((0.5, 2), (6.0, 1)):
        options = InstanceOptions("watershed", seed_depth=depth)
        assert find_nuclei(Maps(nucleus, None), options).max() == count


def test_peaks_of_a_small_example():
    height = np.array([[0, 5, 3, 4, 0, 2, 2, 1.5, 2, 0]], np.float32)
    for depth, expected in (
        (0.4, [0, 1, 0, 1, 0, 1, 1, 0, 1, 0]),
        (0.6, [0, 1, 0, 1, 0, 1, 1, 1, 1, 0]),  # the dip between equal peaks is too shallow
        (1.2, [0, 1, 0, 0, 0, 1, 1, 1, 1, 0]),
        (3.0, [0, 1, 0, 0, 0, 0, 0, 0, 0, 0]),
    ):
        peaks = find_peaks(height, depth)
        # The top of a peak includes all pixels above the cut at `depth`.
        above = height >= np.where(expected, 0, np.inf)
        assert peaks[above].all(), depth
        assert not peaks[0, height[0] == 0].any()
        assert label_components(peaks).max() == label_components(np.array([expected], bool)).max()


@pytest.mark.parametrize("depth", [0.05, 0.2, 0.6])
def test_peaks_equal_those_of_scikit_image(depth):
    noise = ndimage.gaussian_filter(np.random.default_rng(0).random((60, 70)), 2)
    height = ((noise - noise.min()) / np.ptp(noise)).astype(np.float32)
    expected = local_maxima(reconstruction(height - depth, height))
    np.testing.assert_array_equal(find_peaks(height, depth), expected)


def test_flat_map_has_no_peak():
    assert not find_peaks(np.zeros((5, 6), np.float32), 0.2).any()


def test_reconstruction_equals_that_of_scikit_image():
    rng = np.random.default_rng(0)
    limit = rng.integers(0, 1000, (50, 60)).astype(np.uint16)
    marker = np.where(rng.random(limit.shape) > 0.99, limit, 0).astype(np.uint16)
    np.testing.assert_array_equal(reconstruct(marker, limit), reconstruction(marker, limit))


def test_only_small_closed_holes_are_filled():
    mask = np.ones((20, 20), bool)
    mask[2:4, 2:5] = False  # 6 pixels
    mask[8:12, 8:12] = False  # 16 pixels
    mask[:2, 15:18] = False  # 6 pixels, open to the outside
    filled = fill_holes(mask, 6)
    assert filled[2:4, 2:5].all()
    assert not filled[8:12, 8:12].any()
    assert not filled[:2, 15:18].any()
    np.testing.assert_array_equal(fill_holes(mask, 0), mask)
    expected = ndimage.binary_fill_holes(mask)
    np.testing.assert_array_equal(fill_holes(mask, 400), expected)
    assert not fill_holes(np.zeros((4, 4), bool), 99).any()


def test_small_nuclei_are_removed_and_labels_renumbered():
    labels = np.array([[1, 0, 2, 2, 0, 3, 3, 3]], np.int32)
    np.testing.assert_array_equal(drop_small(labels, 2), [[0, 0, 1, 1, 0, 2, 2, 2]])
    np.testing.assert_array_equal(drop_small(labels, 1), labels)
    np.testing.assert_array_equal(drop_small(labels, 9), 0 * labels)


def test_components_are_8_connected():
    mask = np.array([[1, 0, 0], [0, 1, 0], [0, 0, 0], [1, 0, 1]], bool)
    expected, count = ndimage.label(mask, np.ones((3, 3)))
    assert label_components(mask).max() == count == 3
    np.testing.assert_array_equal(label_components(mask), expected)


def test_seedless_components_become_seeds():
    seeds = np.array([[0, 1, 0, 0, 0, 2, 0]])
    parts = np.array([[1, 1, 0, 2, 0, 3, 3]])
    np.testing.assert_array_equal(add_seedless(seeds, parts), [[0, 1, 0, 3, 0, 2, 0]])


def test_boxes_scores_and_order():
    nucleus = np.zeros((8, 10), np.float32)
    nucleus[1:3, 2:6], nucleus[5:8, 7:10] = 0.6, 0.9
    nucleus[1, 2] = 0.8
    prediction = postprocess(Maps(nucleus, None), InstanceOptions(score_thresh=0.7))
    instances = to_instances(prediction.detections)
    np.testing.assert_allclose(prediction.nuclei.scores, [0.9], rtol=1e-6)
    np.testing.assert_array_equal(instances.pred_boxes.tensor, [[7, 5, 10, 8], [2, 1, 6, 3]])
    np.testing.assert_allclose(instances.scores, [0.9, (0.8 + 7 * 0.6) / 8], rtol=1e-6)
    for box, mask in zip(instances.pred_boxes.tensor.int(), instances.pred_masks, strict=True):
        x0, y0, x1, y1 = box
        assert mask[y0:y1, x0:x1].all()
        assert mask.sum() == (x1 - x0) * (y1 - y0)


def test_scores_equal_those_of_scipy():
    rng = np.random.default_rng(0)
    labels, nucleus = label_components(rng.random((40, 50)) > 0.7), rng.random((40, 50))
    expected = ndimage.mean(nucleus, labels, np.arange(1, labels.max() + 1))
    np.testing.assert_allclose(score_nuclei(labels, nucleus), expected, rtol=1e-5)


def test_unknown_method_and_seeds_raise():
    with pytest.raises(ValueError, match="METHOD 'magic', expected one of"):
        InstanceOptions(method="magic")
    with pytest.raises(ValueError, match="SEEDS 'all', expected one of"):
        InstanceOptions(seeds="all")
