import cv2
import numpy as np
import pytest

from dsb2018.data.targets import BORDER_REACH, interior_map


def random_labels(seed, size=40, count=12):
    """(1, size, size) label layers of rectangles, which touch or cover each other."""
    rng = np.random.default_rng(seed)
    labels = np.zeros((1, size, size), np.uint8)
    for label in range(1, count + 1):
        y, x = rng.integers(0, size - 4, 2)
        h, w = rng.integers(2, 14, 2)
        labels[0, y : y + h, x : x + w] = label
    return labels


def test_distance_of_a_square():
    labels = np.zeros((1, 7, 7), np.uint8)
    labels[0, 1:6, 1:6] = 3
    expected = np.zeros((7, 7))
    expected[1:6, 1:6], expected[2:5, 2:5], expected[3, 3] = 1 / 3, 2 / 3, 1
    np.testing.assert_allclose(interior_map(labels, "distance"), expected, atol=1e-6)


def test_border_of_two_squares():
    labels = np.zeros((1, 3, 12), np.uint8)
    labels[0, :, :6], labels[0, :, 6:11] = 1, 2
    row = [1, 1, 1, 1, 0, 0, 0, 0, 1, 1, 1, 0]  # border: 2 pixels on both sides of the contact
    np.testing.assert_array_equal(interior_map(labels, "border"), [row] * 3)


def nearest_distance(points, pixel):
    """Distance from a (y, x) pixel to the nearest of (N, 2) points; inf without points."""
    return np.hypot(*(points - pixel).T).min(initial=np.inf)


@pytest.mark.parametrize("seed", range(4))
def test_distance_equals_brute_force(seed):
    labels = random_labels(seed)
    flat = np.pad(labels[0].astype(int), 1, mode="edge")  # the image border is no edge
    inner = flat[1:-1, 1:-1]
    shifted = flat[:-2, 1:-1], flat[2:, 1:-1], flat[1:-1, :-2], flat[1:-1, 2:]
    edge = np.argwhere(np.any([neighbor != inner for neighbor in shifted], axis=0))
    distance = np.zeros(inner.shape)
    for pixel in np.argwhere(inner > 0):
        distance[tuple(pixel)] = 1 + nearest_distance(edge, pixel)
    for label in np.unique(inner[inner > 0]):
        distance[inner == label] /= distance[inner == label].max()
    np.testing.assert_allclose(interior_map(labels, "distance"), distance, atol=1e-5)


@pytest.mark.parametrize("seed", range(4))
def test_border_equals_brute_force(seed):
    labels = random_labels(seed)
    flat = labels[0]
    expected = np.zeros(flat.shape)
    for pixel in np.argwhere(flat > 0):
        other_nuclei = np.argwhere((flat > 0) & (flat != flat[tuple(pixel)]))
        expected[tuple(pixel)] = nearest_distance(other_nuclei, pixel) > BORDER_REACH
    np.testing.assert_array_equal(interior_map(labels, "border"), expected)


def test_full_and_empty_windows():
    full = np.ones((1, 5, 6), np.uint8)
    np.testing.assert_array_equal(interior_map(full, "border"), np.ones((5, 6)))
    np.testing.assert_array_equal(interior_map(full, "distance"), np.ones((5, 6)))
    for kind in ("border", "distance"):
        assert not interior_map(0 * full, kind).any()
        assert interior_map(full, kind).dtype == np.float32
    assert interior_map(full, "none") is None


def test_upper_layer_covers_overlapping_nuclei():
    layers = np.zeros((2, 4, 8), np.uint8)
    layers[0, :, :5], layers[1, :, 4:] = 1, 2
    row = [1, 1, 0, 0, 0, 0, 1, 1]  # contact between columns 3 and 4
    np.testing.assert_array_equal(interior_map(layers, "border"), [row] * 4)


def test_unknown_kind_raises():
    with pytest.raises(ValueError, match="SEPARATION 'star', expected one of"):
        interior_map(np.zeros((1, 2, 2), np.uint8), "star")


def test_distances_do_not_depend_on_the_number_of_threads():
    """With one thread, OpenCV would use IPP, whose last bit depends on memory addresses."""
    labels = random_labels(0, size=300, count=40)
    previous_threads = cv2.getNumThreads()
    maps = []
    try:
        for threads in (1, 2):
            cv2.setNumThreads(threads)
            maps += [interior_map(labels.copy(), "distance").tobytes() for _ in range(5)]
    finally:
        cv2.setNumThreads(previous_threads)
    assert len(set(maps)) == 1
