import cv2
import numpy as np
import pytest
import tifffile

from dsb2018.images.pixels import read_dataset_image, read_picture, read_pixels

GRAY = np.random.default_rng(0).integers(0, 60_000, (5, 6), np.uint16)


def test_alpha_is_dropped_and_gray_has_one_channel(tmp_path):
    bgra = np.random.default_rng(0).integers(0, 255, (5, 6, 4), np.uint8)
    cv2.imwrite(str(tmp_path / "a.png"), bgra)
    np.testing.assert_array_equal(read_pixels(tmp_path / "a.png"), bgra[..., 2::-1])
    gray = bgra[..., :1]
    for name, pixels in (("g", gray), ("c", np.dstack([gray] * 3)), ("d", np.dstack([gray] * 4))):
        cv2.imwrite(str(tmp_path / f"{name}.png"), pixels)
        np.testing.assert_array_equal(read_pixels(tmp_path / f"{name}.png"), gray)


DTYPES = ("uint8", "uint16", "uint32", "int16", "float32", "float64")
CASES = [(".png", dtype) for dtype in DTYPES[:2]]  # PNG has 8 or 16 bits
CASES += [(suffix, dtype) for suffix in (".tif", ".npy") for dtype in DTYPES]


@pytest.mark.parametrize(("suffix", "dtype"), CASES)
def test_no_bit_is_lost(tmp_path, suffix, dtype):
    pixels = GRAY.astype(dtype)
    path = tmp_path / f"a{suffix}"
    if suffix == ".npy":
        np.save(path, pixels)
    elif suffix == ".tif":
        tifffile.imwrite(path, pixels)
    else:
        cv2.imwrite(str(path), pixels)
    read = read_pixels(path)
    assert read.dtype == dtype
    np.testing.assert_array_equal(read[..., 0], pixels)


def test_color_of_16_bits(tmp_path):
    rgb = np.random.default_rng(0).integers(0, 60_000, (5, 6, 3), np.uint16)
    cv2.imwrite(str(tmp_path / "a.png"), rgb[..., ::-1])
    tifffile.imwrite(tmp_path / "a.tif", rgb, photometric="rgb")
    np.save(tmp_path / "a.npy", rgb)
    for suffix in (".png", ".tif", ".npy"):
        np.testing.assert_array_equal(read_pixels(tmp_path / f"a{suffix}"), rgb)


def test_channel(tmp_path):
    channels = np.stack([GRAY, GRAY // 2])
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, channels, photometric="minisblack", metadata={"axes": "CYX"})
    np.testing.assert_array_equal(read_pixels(path, "1")[..., 0], GRAY // 2)
    with pytest.raises(ValueError, match="2 channels; name the nuclear channel with --channel"):
        read_pixels(path)


def test_files_that_are_not_one_image_raise(tmp_path):
    tifffile.imwrite(tmp_path / "z.tif", np.zeros((5, 5, 6), np.uint8))
    with pytest.raises(ValueError, match=r"z\.tif: a stack of 5 slices, expected one 2-D image"):
        read_pixels(tmp_path / "z.tif")
    times = np.zeros((4, 5, 6), np.uint8)
    tifffile.imwrite(tmp_path / "t.tif", times, imagej=True, metadata={"axes": "TYX"})
    with pytest.raises(ValueError, match=r"t\.tif: 4 images, expected one"):
        read_pixels(tmp_path / "t.tif")
    np.save(tmp_path / "4d.npy", np.zeros((2, 2, 2, 2)))
    with pytest.raises(ValueError, match=r"4d\.npy: an array of shape \(2, 2, 2, 2\), expected"):
        read_pixels(tmp_path / "4d.npy")


def test_unreadable_files_raise(tmp_path):
    (tmp_path / "x.png").write_bytes(b"no image")
    with pytest.raises(ValueError, match=r"x\.png: not a readable image"):
        read_pixels(tmp_path / "x.png")
    (tmp_path / "x.png").write_bytes(b"")
    with pytest.raises(ValueError, match=r"x\.png: not a readable image .the file is empty"):
        read_pixels(tmp_path / "x.png")
    with pytest.raises(FileNotFoundError):
        read_pixels(tmp_path / "absent.png")


def test_pictures_of_dark_images_are_visible(tmp_path):
    np.save(tmp_path / "a.npy", (GRAY // 100).astype(np.uint16))
    item = {"file_name": str(tmp_path / "a.npy"), "height": 5, "width": 6}
    picture = read_picture(item)
    assert (picture.dtype, picture.shape) == (np.uint8, (5, 6, 3))
    assert (picture.min(), picture.max()) == (0, 255)
    with pytest.raises(ValueError, match=r"\(5, 6\) pixels, expected \(6, 5\); prepare"):
        read_dataset_image({**item, "height": 6, "width": 5})
