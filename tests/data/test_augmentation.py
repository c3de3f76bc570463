import numpy as np
import pytest
from detectron2.data import transforms as T

from dsb2018.data.augmentation import (
    CropResizeTransform,
    QuarterTurnTransform,
    RandomLocalContrast,
    RandomOptics,
    RandomQuarterTurn,
    RandomStain,
    RandomZoomCrop,
    ZoomToLimit,
)
from dsb2018.data.virtual_stain import RandomVirtualStain
from dsb2018.structures.labels import median_diameter
from tests.runtime.test_scaling import discs

IMAGE = np.random.default_rng(0).integers(0, 255, (67, 93, 3)).astype(np.uint8)
LABELS = np.zeros((67, 93, 2), np.uint16)
LABELS[10:30, 20:50, 0], LABELS[25:40, 40:60, 1] = 300, 7


@pytest.fixture(autouse=True)
def seed():
    np.random.seed(0)


@pytest.mark.parametrize(
    "transform",
    [
        CropResizeTransform(5, 3, 60, 40, 120, 80),
        CropResizeTransform(0, 0, 93, 67, 31, 20),
        *[QuarterTurnTransform(turns, 67, 93) for turns in range(4)],
    ],
)
def test_image_labels_and_points_are_transformed_alike(transform):
    # A dot in the image, its label and its coordinates must move to the same position.
    image, labels = np.zeros((67, 93, 3), np.uint8), np.zeros((67, 93, 1), np.uint8)
    image[20:26, 30:36], labels[20:26, 30:36] = 255, 1
    moved, moved_labels = transform.apply_image(image), transform.apply_segmentation(labels)
    assert moved_labels.ndim == 3
    assert moved.shape[:2] == moved_labels.shape[:2]
    point = transform.apply_coords(np.array([[33.0, 23.0]]))[0]
    for array in (moved[..., 0] > 127, moved_labels[..., 0] > 0):
        rows, columns = np.nonzero(array)
        center = [columns.mean() + 0.5, rows.mean() + 0.5]
        np.testing.assert_allclose(center, point, atol=0.6)


def test_resized_labels_are_not_interpolated():
    transform = CropResizeTransform(3, 5, 70, 50, 133, 77)
    assert set(np.unique(transform.apply_segmentation(LABELS))) == {0, 7, 300}


def test_zoom_crop_size():
    for _ in range(50):
        transform = RandomZoomCrop(64, (0.5, 3.0)).get_transform(IMAGE, LABELS)
        height, width = transform.apply_image(IMAGE).shape[:2]
        assert height <= 64
        assert width <= 64
        # With the smallest zoom, 0.5, the whole image has 34 × 46 pixels.
        assert height >= 33
        assert width >= 46
        assert (height, width) == transform.apply_segmentation(LABELS).shape[:2]


def test_zoom_crop_prefers_windows_with_nuclei():
    labels = np.zeros((400, 400, 1), np.uint8)
    labels[10:20, 10:20] = 1
    image = np.zeros((400, 400, 3), np.uint8)

    def share_with_nuclei(tries):
        augmentation = RandomZoomCrop(200, (1.0, 1.0), tries)
        windows = [augmentation.get_transform(image, labels) for _ in range(300)]
        return np.mean([window.apply_segmentation(labels).any() for window in windows])

    assert share_with_nuclei(1) < 0.1 < share_with_nuclei(20)


@pytest.mark.parametrize(
    ("shape", "zoom", "limit", "expected"),
    [
        ((100, 60), 2.0, 1000, (200, 120)),
        ((100, 60), 2.0, 150, (150, 90)),
        ((100, 60), 2.0, 50, (100, 60)),
        ((67, 93), 1.0, 1000, (67, 93)),
    ],
)
def test_zoom_to_limit(shape, zoom, limit, expected):
    image = np.zeros((*shape, 3), np.uint8)
    transform = ZoomToLimit(zoom, limit).get_transform(image)
    assert transform.apply_image(image).shape == (*expected, 3)


@pytest.mark.parametrize("augmentation", [RandomStain(), RandomOptics(1.0)])
def test_color_changes_keep_shape_and_labels(augmentation):
    transform = augmentation.get_transform(IMAGE)
    changed = transform.apply_image(IMAGE)
    assert (changed.shape, changed.dtype) == (IMAGE.shape, np.uint8)
    assert (changed != IMAGE).any()
    assert transform.apply_segmentation(LABELS) is LABELS
    np.testing.assert_array_equal(transform.apply_image(IMAGE), changed)  # same noise


def test_stain_without_strength_and_with_inversion():
    identity = RandomStain(strength=0, inversion=0).get_transform(IMAGE)
    np.testing.assert_array_equal(identity.apply_image(IMAGE), IMAGE)
    inverted = RandomStain(strength=0, inversion=1).get_transform(IMAGE)
    np.testing.assert_array_equal(inverted.apply_image(IMAGE), 255 - IMAGE)


def test_equal_seeds_give_equal_augmentations():
    def augment():
        np.random.seed(7)
        augmentations = [RandomZoomCrop(40, (1, 2)), RandomQuarterTurn(), RandomStain()]
        inputs = T.AugInput(IMAGE, sem_seg=LABELS)
        T.AugmentationList([*augmentations, RandomOptics(1.0)])(inputs)
        return inputs

    first, second = augment(), augment()
    np.testing.assert_array_equal(first.image, second.image)
    np.testing.assert_array_equal(first.sem_seg, second.sem_seg)


@pytest.mark.parametrize("diameter", [8, 20, 70])
def test_zoom_crop_brings_nuclei_to_one_diameter(diameter):
    labels = discs(diameter)[..., None]
    image = np.repeat(np.uint8(200) * (labels > 0), 3, axis=2)
    augmentation = RandomZoomCrop(1000, (1.0, 1.0), diameter=24.0)
    inputs = T.AugInput(image, sem_seg=labels.astype(np.uint8))
    augmentation(inputs)
    assert median_diameter(inputs.sem_seg) == pytest.approx(24, rel=0.08)
    assert inputs.image.shape[:2] == inputs.sem_seg.shape[:2]
    empty = np.zeros((50, 60, 3), np.uint8)
    transform = augmentation.get_transform(empty, empty[..., 0])
    assert transform.apply_image(empty).shape == empty.shape


def test_virtual_stain_makes_nuclei_dark_and_keeps_other_images():
    labels = discs(30).astype(np.uint8)
    image = np.repeat((20 + np.uint8(180) * (labels > 0))[..., None], 3, axis=2)
    colors = set()
    for seed in range(20):
        np.random.seed(seed)
        stained = RandomVirtualStain(1.0).get_transform(image, labels).apply_image(image)
        assert stained.dtype == np.uint8
        inside, outside = stained[labels > 0].mean(axis=0), stained[labels == 0].mean(axis=0)
        assert inside.sum() < outside.sum() - 30
        assert outside.min() > 100
        colors.add("brown" if inside[0] > inside[2] + 20 else "blue")
    assert colors == {"brown", "blue"}
    for other in (255 - image, image * np.uint8([1, 0, 0]), image * 0):
        transform = RandomVirtualStain(1.0).get_transform(other, labels)
        np.testing.assert_array_equal(transform.apply_image(other), other)
    np.random.seed(0)
    never = RandomVirtualStain(0.0).get_transform(image, labels)
    np.testing.assert_array_equal(never.apply_image(image), image)


def test_local_contrast():
    random = np.random.default_rng(0)
    image = random.integers(100, 120, (64, 64, 3), dtype=np.uint8)
    np.random.seed(0)
    equalized = RandomLocalContrast(1.0).get_transform(image).apply_image(image)
    assert equalized.std() > 1.5 * image.std()
    np.testing.assert_array_equal(
        RandomLocalContrast(0.0).get_transform(image).apply_image(image), image
    )
