import cv2
import numpy as np
import pytest

from dsb2018.errors import InputError
from dsb2018.prepare.png_files import EmptyMaskError, png_size, read_mask


def png(pixels: np.ndarray) -> bytes:
    return cv2.imencode(".png", pixels)[1].tobytes()


SQUARE = np.zeros((20, 30), np.uint8)
SQUARE[5:9, 6:11] = 255


def test_png_size():
    assert png_size(png(SQUARE), "x.png") == (20, 30)


@pytest.mark.parametrize("kept", [0, 4, 20, 60, -1, -6, -13])
def test_truncated_png(kept):
    data = png(np.random.default_rng(0).integers(0, 255, (20, 30), np.uint8))[:kept]
    with pytest.raises(InputError, match=r"x\.png: (truncated|not a PNG)"):
        png_size(data, "x.png")
    with pytest.raises(InputError, match=r"^x\.png: "):
        read_mask(data, "x.png", 20, 30)


def test_damaged_png():
    data = bytearray(png(SQUARE))
    data[-25] ^= 0xFF
    with pytest.raises(InputError, match="wrong checksum"):
        png_size(bytes(data), "x.png")


def test_jpeg_with_the_extension_of_png():
    jpeg = cv2.imencode(".jpg", SQUARE)[1].tobytes()
    with pytest.raises(InputError, match="not a PNG file"):
        png_size(jpeg, "x.png")


def test_masks_with_any_foreground_value():
    for value in (1, 128, 255):
        crop = read_mask(png(SQUARE // 255 * value), "m.png", 20, 30)
        assert (crop.box, crop.area) == ([6, 5, 5, 4], 20)
    mask_16_bit = png((SQUARE > 0).astype(np.uint16) * 65535)
    assert read_mask(mask_16_bit, "m.png", 20, 30).area == 20


THREE_VALUES = SQUARE.copy()
THREE_VALUES[5, 6] = 100


@pytest.mark.parametrize(
    ("pixels", "message"),
    [
        (SQUARE[:10], "the mask has 10×30 pixels .its image has 20×30"),
        (THREE_VALUES, "the mask has 3 gray values|the mask has 2 gray values"),
        (np.dstack([SQUARE] * 3), "the mask has 3 channels"),
        (np.dstack([SQUARE] * 4), "the mask has 4 channels"),
    ],
)
def test_invalid_masks(pixels, message):
    with pytest.raises(InputError, match=message) as error:
        read_mask(png(pixels), "m.png", 20, 30)
    assert str(error.value).startswith("m.png: ")


def test_empty_mask_raises_empty_mask_error():
    with pytest.raises(EmptyMaskError, match=r"m\.png: the mask is empty"):
        read_mask(png(SQUARE * 0), "m.png", 20, 30)
