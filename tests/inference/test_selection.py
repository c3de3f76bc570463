import numpy as np
import pytest

from dsb2018.errors import UsageError
from dsb2018.inference.selection import NO_SELECTION, Area, Selection
from dsb2018.structures.nuclei import Nuclei


def squares() -> Nuclei:
    """Nuclei of 4, 9, 25 and 16 pixels; the last one touches the border."""
    labels = np.zeros((30, 40), np.int32)
    labels[2:4, 2:4], labels[10:13, 10:13], labels[20:25, 20:25], labels[26:30, 3:7] = 1, 2, 3, 4
    return Nuclei.from_labels(labels, np.array([0.9, 0.8, 0.7, 0.6]))


@pytest.mark.parametrize(
    ("selection", "kept"),
    [
        (NO_SELECTION, [4, 9, 25, 16]),
        (Selection(least=Area(9, False)), [9, 25, 16]),
        (Selection(most=Area(9, False)), [4, 9]),
        (Selection(least=Area(5, False), most=Area(16, False)), [9, 16]),
        (Selection(exclude_border=True), [4, 9, 25]),
        # A pixel of 0.5 × 2 µm has 1 µm².
        (Selection(least=Area.from_text("16um2")), [25, 16]),
        (Selection(least=Area(100, False)), []),
    ],
)
def test_nuclei_that_are_kept(selection, kept):
    nuclei = squares()
    chosen = selection.apply(nuclei, (0.5, 2.0), "a.tif")
    assert chosen.areas.tolist() == kept
    assert chosen.labels.max(initial=0) == len(kept)
    scores = dict(zip(nuclei.areas.tolist(), nuclei.scores.tolist(), strict=True))
    assert chosen.scores.tolist() == [scores[area] for area in kept]


@pytest.mark.parametrize(
    ("text", "area"),
    [
        ("80", Area(80, False)),
        ("12.5um2", Area(12.5, True)),
        ("3 µm²", Area(3, True)),
        ("0", Area(0, False)),
    ],
)
def test_areas_as_text(text, area):
    assert Area.from_text(text) == area


@pytest.mark.parametrize("text", ["", "-1", "big", "1e9", "5mm2", "um2", "9" * 20])
def test_texts_that_are_no_area(text):
    with pytest.raises(ValueError, match="expected pixels, such as 80"):
        Area.from_text(text)


def test_the_smallest_area_is_not_the_largest():
    Selection(Area(80, False), Area(50, True))  # depends on the pixel size
    with pytest.raises(UsageError, match="the smallest area, 80, is larger than the largest, 50"):
        Selection(Area(80, False), Area(50, False))


def test_square_micrometers_need_the_pixel_size():
    assert Area(12, True).in_pixels((0.5, 0.5), "a.tif") == 48
    with pytest.raises(ValueError, match=r"a\.tif: an area in square micrometers, but the file"):
        Selection(least=Area(1, True)).apply(squares(), None, "a.tif")
