import cv2
import numpy as np
import pytest

from dsb2018.prepare.errors import BadInput
from dsb2018.prepare.png_files import EmptyMask, png_size, read_mask, the_image
from dsb2018.prepare.source import Entry


def png(pixels: np.ndarray) -> bytes:
    return cv2.imencode(".png", pixels)[1].tobytes()


SQUARE = np.zeros((20, 30), np.uint8)
SQUARE[5:9, 6:11] = 255


def test_size_of_a_png():
    assert png_size(png(SQUARE), "x.png") == (20, 30)


@pytest.mark.parametrize("kept", [0, 4, 20, 60, -1, -6, -13])
def test_truncated_png_at_any_place(kept):
    data = png(np.random.default_rng(0).integers(0, 255, (20, 30), np.uint8))[:kept]
    with pytest.raises(BadInput, match=r"x\.png: (truncated|not a PNG)"):
        png_size(data, "x.png")
    with pytest.raises(BadInput, match=r"^x\.png: "):
        read_mask(data, "x.png", 20, 30)


def test_damaged_png():
    data = bytearray(png(SQUARE))
    data[-25] ^= 0xFF
    with pytest.raises(BadInput, match="check sum"):
        png_size(bytes(data), "x.png")


def test_other_file_called_png():
    jpeg = cv2.imencode(".jpg", SQUARE)[1].tobytes()
    with pytest.raises(BadInput, match="not a PNG file"):
        png_size(jpeg, "x.png")


def test_good_mask_of_any_foreground_value():
    for value in (1, 128, 255):
        crop = read_mask(png(SQUARE // 255 * value), "m.png", 20, 30)
        assert (crop.box, crop.area) == ([6, 5, 5, 4], 20)
    deep = png((SQUARE > 0).astype(np.uint16) * 65535)
    assert read_mask(deep, "m.png", 20, 30).area == 20


THREE_VALUES = SQUARE.copy()
THREE_VALUES[5, 6] = 100


@pytest.mark.parametrize(
    ("pixels", "message"),
    [
        (SQUARE[:10], "a mask of 10×30 pixels .its image has 20×30"),
        (THREE_VALUES, "a mask of 3 values|a mask of 2 values"),
        (np.dstack([SQUARE] * 3), "3 channels, colour"),
        (np.dstack([SQUARE] * 4), "4 channels, colour with alpha"),
    ],
)
def test_bad_masks(pixels, message):
    with pytest.raises(BadInput, match=message) as error:
        read_mask(png(pixels), "m.png", 20, 30)
    assert str(error.value).startswith("m.png: ")


def test_empty_mask_is_an_error_of_its_own():
    with pytest.raises(EmptyMask, match=r"m\.png: an empty mask"):
        read_mask(png(SQUARE * 0), "m.png", 20, 30)


@pytest.mark.parametrize(("images", "found"), [((), "no images folder"), (("a", "b"), "2 images")])
def test_not_one_image(images, found):
    with pytest.raises(BadInput, match=found):
        the_image(Entry("id", images, ()), "root")
