import numpy as np
import pytest

from dsb2018.draw import HALO, PREDICTED, TRUTH, draw_outlines, find_outlines, side_by_side

GREY = 120


def image_of(labels):
    return np.full((*labels.shape, 3), GREY, np.uint8)


def has_color(picture, color):
    return (picture == color).all(axis=2)


@pytest.fixture
def touching():
    """Two nuclei that share an edge, in the middle of an image."""
    labels = np.zeros((30, 40), np.uint16)
    labels[8:20, 5:15], labels[8:20, 15:30] = 3, 900
    return labels


def test_outlines_are_the_outermost_pixels(touching):
    outlines = find_outlines(touching)
    corners = [set(map(tuple, outline[:, 0].tolist())) for outline in outlines]
    assert corners == [
        {(5, 8), (14, 8), (14, 19), (5, 19)},
        {(15, 8), (29, 8), (29, 19), (15, 19)},
    ]


def test_outlines_go_around_holes_and_single_pixels():
    labels = np.zeros((30, 40), np.uint8)
    labels[5:20, 5:20], labels[10:15, 10:15], labels[25, 30] = 1, 0, 2
    *ring, dot = find_outlines(labels)
    assert len(ring) == 2
    assert dot.tolist() == [[[30, 25]]]
    assert find_outlines(np.zeros((4, 4), np.uint8)) == []


@pytest.mark.parametrize("zoom", [1, 2, 3])
def test_each_nucleus_has_a_line_and_a_halo(touching, zoom):
    picture = draw_outlines(image_of(touching), touching, TRUTH, zoom)
    assert picture.shape == (30 * zoom, 40 * zoom, 3)
    line, halo = has_color(picture, TRUTH), has_color(picture, HALO)
    assert (line | halo | has_color(picture, (GREY,) * 3)).all()
    row = 14 * zoom  # through both nuclei
    left, right = 5 * zoom + zoom // 2, 29 * zoom + zoom // 2  # the middle of an outermost pixel
    for middle in (left, right):
        assert line[row, middle - 1 : middle + 2].all()
        assert halo[row, [middle - 2, middle + 2]].all()
        assert not (line | halo)[row, [middle - 3, middle + 3]].any()


def test_the_border_of_the_image_is_no_edge():
    labels = np.zeros((30, 40), np.uint8)
    labels[:12, 10:25] = 1
    line = has_color(draw_outlines(image_of(labels), labels, PREDICTED), PREDICTED)
    assert not line[0, 26:44].any()
    assert line[22:24, 26:44].all()
    assert line[0, 20:22].all()


def test_windows_fit_together():
    """As large images are drawn: no line at the seam, and all others go on."""
    yy, xx = np.mgrid[:60, :80]
    labels = ((yy - 30) ** 2 + (xx - 40) ** 2 < 400).astype(np.uint8)
    whole = draw_outlines(image_of(labels), labels, PREDICTED)
    parts = [draw_outlines(image_of(part), part, PREDICTED) for part in (labels[:25], labels[25:])]
    np.testing.assert_array_equal(
        has_color(np.concatenate(parts), PREDICTED), has_color(whole, PREDICTED)
    )


def test_panels_stand_side_by_side(touching):
    picture = side_by_side(image_of(touching), touching[None], touching)
    assert picture.shape == (60, 3 * 80 + 16, 3)
    for start, color in ((88, TRUTH), (176, PREDICTED)):
        assert has_color(picture[:, start : start + 80], color).any()
    assert (picture[:, :80] == GREY).all()
    assert side_by_side(image_of(touching), None, touching).shape == (60, 2 * 80 + 8, 3)
