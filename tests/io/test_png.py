import cv2
import numpy as np
import pytest

from dsb2018.images.pixels import read_pixels
from dsb2018.io.png import png_header
from tests.hostile import png_header as png_bomb


def png(width=4, height=3, length=None) -> bytes:
    data = bytearray(cv2.imencode(".png", np.zeros((height, width), np.uint8))[1].tobytes())
    if length is not None:  # the length that the chunk of the pixels claims
        position = data.index(b"IDAT") - 4
        data[position : position + 4] = length.to_bytes(4, "big")
    return bytes(data)


def test_png_header():
    assert png_header(png(4, 3)) == (3, 4)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "not a PNG file"),
        (png()[:20], "truncated"),
        (png()[:-1], "truncated"),
        (png(length=0xFFFF0000), "truncated"),
        (png().replace(b"IHDR", b"XHDR"), "no header"),
        (png_bomb(50_000, 50_000), "at most 134 million"),
        (png_bomb(0, 5), "at most 134 million"),
        (png_bomb(11_000, 11_000), "damaged PNG file: 11000 × 11000 pixels in .* bytes"),
    ],
)
def test_bad_png_headers_raise(tmp_path, data, message):
    with pytest.raises(ValueError, match=message):
        png_header(data)
    path = tmp_path / "a.png"
    path.write_bytes(data)
    with pytest.raises(ValueError, match=r"a\.png: "):
        read_pixels(path)
