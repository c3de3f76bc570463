import cv2
import numpy as np
import pytest

from dsb2018.io.images import png_header, read_image
from dsb2018.structures.contrast import stretch_contrast
from tests.hostile import png_header as png_bomb


def test_alpha_is_dropped_and_gray_becomes_rgb(tmp_path):
    bgra = np.random.default_rng(0).integers(0, 255, (5, 6, 4), np.uint8)
    cv2.imwrite(str(tmp_path / "a.png"), bgra)
    np.testing.assert_array_equal(read_image(tmp_path / "a.png", "BGR"), bgra[..., :3])
    np.testing.assert_array_equal(read_image(tmp_path / "a.png", "RGB"), bgra[..., 2::-1])
    cv2.imwrite(str(tmp_path / "g.png"), bgra[..., 0])
    np.testing.assert_array_equal(read_image(tmp_path / "g.png"), np.dstack([bgra[..., 0]] * 3))


def test_unreadable_files_raise(tmp_path):
    (tmp_path / "x.png").write_bytes(b"no image")
    with pytest.raises(ValueError, match=r"x\.png: not an image"):
        read_image(tmp_path / "x.png")
    (tmp_path / "x.png").write_bytes(b"")
    with pytest.raises(ValueError, match=r"x\.png: not an image"):
        read_image(tmp_path / "x.png")
    with pytest.raises(FileNotFoundError):
        read_image(tmp_path / "absent.png")
    with pytest.raises(ValueError, match="channel order 'HSV'"):
        read_image(tmp_path / "x.png", "HSV")


def test_stretch_uses_the_full_range_and_keeps_hue():
    image = np.zeros((10, 10, 3), np.uint8)
    image[...] = np.array([20, 40, 60])
    image[:5] //= 2
    stretched = stretch_contrast(image, 0)
    assert (stretched.min(), stretched.max()) == (0, 255)
    np.testing.assert_array_equal(stretched[0, 0], [0, 51, 102])  # 10, 20, 30 of 10 to 60
    np.testing.assert_array_equal(stretched[9, 0], [51, 153, 255])


def test_stretch_clips_a_percentage_of_pixels():
    image = np.full((100, 100, 3), 50, np.uint8)
    image[:50] = 100
    image[0, 0] = 255
    assert stretch_contrast(image, 0)[99, 0, 0] == 0
    assert stretch_contrast(image, 0)[1, 0, 0] < 100
    assert stretch_contrast(image, 1)[1, 0, 0] == 255


def test_flat_image_is_unchanged():
    image = np.full((4, 4, 3), 9, np.uint8)
    np.testing.assert_array_equal(stretch_contrast(image, 0.1), image)


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
        read_image(path)
