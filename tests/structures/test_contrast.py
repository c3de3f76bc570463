import numpy as np
import pytest

from dsb2018.structures.contrast import find_range, stretch_contrast


def random_image(seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    image = rng.gamma(2, rng.uniform(2, 30), (64, 80, 3)) + rng.uniform(0, 60)
    return np.clip(image, 0, 255).astype(np.uint8)


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("percent", [0.0, 0.1, 2.0])
def test_find_range_agrees_with_stretch_contrast(seed, percent):
    image = random_image(seed)
    stretched = find_range([image], percent).apply(image)
    assert stretched.dtype == np.uint8
    assert (stretched == stretch_contrast(image, percent)).all()


def test_windows_and_whole_image_have_equal_range():
    image = random_image(3)
    windows = [image[:20], image[20:50, :30], image[20:50, 30:], image[50:]]
    assert find_range(windows, 0.1) == find_range([image], 0.1)


@pytest.mark.parametrize(
    ("dtype", "factor", "shift", "tolerance"),
    [
        (np.uint16, 16, 0, 1),  # 12 bits in 16
        (np.uint16, 257, 0, 0),
        (np.int32, 1000, -50_000, 1),
        (np.float32, 1 / 255, 0, 1),
        (np.float64, 1e-6, -3e-5, 1),
        (np.float16, 1 / 2**17, 0, 1),
    ],
)
def test_all_dtypes_give_the_same_image(dtype, factor, shift, tolerance):
    image = random_image(1)
    expected = stretch_contrast(image, 0.1).astype(int)
    converted = (image.astype(np.float64) * factor + shift).astype(dtype)
    stretched = find_range([converted], 0.1).apply(converted).astype(int)
    assert np.abs(stretched - expected).max() <= tolerance


def test_images_of_almost_one_value():
    flat = np.full((50, 50, 1), 7, np.uint8)
    assert (find_range([flat], 0.1).apply(flat) == flat).all()
    black = np.zeros((50, 50, 1), np.uint16)
    assert not find_range([black], 0.1).apply(black).any()
    constant = np.full((9, 9, 1), 3.5, np.float32)
    assert not find_range([constant], 0.1).apply(constant).any()
    dot = np.zeros((100, 100, 1), np.uint16)  # one bright pixel of 10,000
    dot[3, 4] = 900
    assert find_range([dot], 0.1).apply(dot)[3, 4] == 255


@pytest.mark.parametrize("outlier", [1e4, 1e9, -1e15, 1e30])
def test_outlier_of_a_float_image_does_not_darken_the_rest(outlier):
    image = random_image(1)
    expected = stretch_contrast(image, 0.1).astype(int)
    float_image = image / np.float32(255)
    float_image[5, 6] = outlier
    stretched = find_range([float_image], 0.1).apply(float_image).astype(int)
    stretched[5, 6] = expected[5, 6]
    assert np.abs(stretched - expected).max() <= 3  # the outlier changes which pixels are clipped


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_nan_and_infinity_raise(value):
    image = np.zeros((4, 4, 1), np.float32)
    image[1, 2] = value
    with pytest.raises(ValueError, match="NaN or infinite"):
        find_range([image], 0.1)


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
