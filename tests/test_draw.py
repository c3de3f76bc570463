import numpy as np
import pytest

from dsb2018.draw import HALO, PREDICTED, TRUTH, draw_outlines, find_outlines, side_by_side

GRAY = 120


def gray_image(labels):
    """Returns a gray image of the size of the labels."""
    return np.full((*labels.shape, 3), GRAY, np.uint8)


def has_color(picture, color):
    """Returns (H, W) bool: the pixels of a color."""
    return (picture == color).all(axis=2)


@pytest.fixture
def touching():
    """Labels of two nuclei that share an edge, in the middle of an image."""
    labels = np.zeros((30, 40), np.uint16)
    labels[8:20, 5:15], labels[8:20, 15:30] = 3, 900
    return labels


def test_outlines_are_the_outermost_pixels_of_nuclei(touching):
    outlines = find_outlines(touching)
    corners = [set(map(tuple, outline[:, 0].tolist())) for outline in outlines]
    assert corners == [
        {(5, 8), (14, 8), (14, 19), (5, 19)},
        {(15, 8), (29, 8), (29, 19), (15, 19)},
    ]


def test_outlines_of_holes_and_of_single_pixels():
    labels = np.zeros((30, 40), np.uint8)
    labels[5:20, 5:20], labels[10:15, 10:15], labels[25, 30] = 1, 0, 2
    *ring, dot = find_outlines(labels)
    assert len(ring) == 2
    assert dot.tolist() == [[[30, 25]]]
    assert find_outlines(np.zeros((4, 4), np.uint8)) == []


@pytest.mark.parametrize("zoom", [1, 2, 3])
def test_outline_has_line_of_three_pixels_and_halo_of_one(touching, zoom):
    picture = draw_outlines(gray_image(touching), touching, TRUTH, zoom)
    assert picture.shape == (30 * zoom, 40 * zoom, 3)
    line, halo = has_color(picture, TRUTH), has_color(picture, HALO)
    assert (line | halo | has_color(picture, (GRAY,) * 3)).all()
    row = 14 * zoom  # through both nuclei
    left, right = 5 * zoom + zoom // 2, 29 * zoom + zoom // 2  # center of an outermost pixel
    for center in (left, right):
        assert line[row, center - 1 : center + 2].all()
        assert halo[row, [center - 2, center + 2]].all()
        assert not (line | halo)[row, [center - 3, center + 3]].any()


def test_no_outline_along_the_image_border():
    labels = np.zeros((30, 40), np.uint8)
    labels[:12, 10:25] = 1
    line = has_color(draw_outlines(gray_image(labels), labels, PREDICTED), PREDICTED)
    assert not line[0, 26:44].any()
    assert line[22:24, 26:44].all()
    assert line[0, 20:22].all()


def test_outlines_of_tiles_equal_those_of_the_whole_image():
    """Large images are drawn in tiles, without lines at the seams."""
    yy, xx = np.mgrid[:60, :80]
    labels = ((yy - 30) ** 2 + (xx - 40) ** 2 < 400).astype(np.uint8)
    whole = draw_outlines(gray_image(labels), labels, PREDICTED)
    tiles = labels[:25], labels[25:]
    joined = np.concatenate([draw_outlines(gray_image(t), t, PREDICTED) for t in tiles])
    np.testing.assert_array_equal(has_color(joined, PREDICTED), has_color(whole, PREDICTED))


def test_side_by_side_panels(touching):
    picture = side_by_side(gray_image(touching), touching[None], touching)
    assert picture.shape == (60, 3 * 80 + 16, 3)
    for start, color in ((88, TRUTH), (176, PREDICTED)):
        assert has_color(picture[:, start : start + 80], color).any()
    assert (picture[:, :80] == GRAY).all()
    assert side_by_side(gray_image(touching), None, touching).shape == (60, 2 * 80 + 8, 3)
