import cv2
import numpy as np
import pytest
from pycocotools import mask as coco_mask
from scipy import ndimage

from dsb2018.structures import masks
from dsb2018.structures.ground_truth import read_label_layers
from dsb2018.structures.labels import (
    distance_to_background,
    flatten_labels,
    opencv_without_ipp,
    stack_labels,
)
from dsb2018.structures.masks import decode
from dsb2018.structures.outlines import decode_segmentation


def example_masks():
    """Masks that are difficult to encode: one pixel, full, joined columns, holes, edges."""
    donut = np.zeros((20, 30), bool)
    donut[4:16, 5:20] = True
    donut[8:12, 9:14] = False
    one_pixel = np.zeros((7, 5), bool)
    one_pixel[6, 4] = True
    first_pixel = np.zeros((7, 5), bool)
    first_pixel[0, 0] = True
    full_columns = np.zeros((6, 9), bool)
    full_columns[:, 2:5] = True
    joined = full_columns.copy()
    joined[3:, 5] = True
    joined[0, 3] = False
    return {
        "donut": donut,
        "one pixel": one_pixel,
        "first pixel": first_pixel,
        "full": np.ones((5, 4), bool),
        "full columns": full_columns,
        "joined columns": joined,
        "empty": np.zeros((5, 4), bool),
        "noise": np.random.default_rng(0).random((33, 47)) < 0.5,
    }


@pytest.mark.parametrize("name", example_masks())
def test_encode_equals_pycocotools(name):
    mask = example_masks()[name]
    expected = coco_mask.encode(np.asfortranarray(mask.astype(np.uint8)))
    rle = masks.encode(mask)
    assert rle["counts"].encode() == expected["counts"]
    assert rle["size"] == expected["size"]
    np.testing.assert_array_equal(masks.decode(rle), mask)


def test_crop_is_tight():
    mask = np.zeros((10, 12), np.uint8)
    mask[3:5, 7:11] = 255
    crop = masks.crop_mask(mask)
    assert (crop.box, crop.area) == ([7, 3, 4, 2], 8)
    assert crop.mask.all()
    assert masks.crop_mask(np.zeros((4, 4), bool)) is None


def test_stacked_labels_keep_every_pixel_of_overlapping_nuclei():
    rng = np.random.default_rng(1)
    full_masks = [rng.random((20, 20)) < 0.2 for _ in range(6)]
    layers, overlapping = stack_labels([masks.crop_mask(mask) for mask in full_masks], 20, 20)
    assert layers.dtype == np.uint8
    assert overlapping > 0
    for label, mask in enumerate(full_masks, start=1):
        np.testing.assert_array_equal((layers == label).any(axis=0), mask)


def test_separate_nuclei_share_one_layer_of_the_smallest_dtype():
    crops = [masks.Crop(x, y, np.ones((1, 1), bool)) for y in range(20) for x in range(20)]
    layers, overlapping = stack_labels(crops, 20, 20)
    assert (layers.shape, layers.dtype, overlapping) == ((1, 20, 20), np.uint16, 0)
    np.testing.assert_array_equal(layers[0].ravel(), np.arange(1, 401))
    with pytest.raises(ValueError, match="65535"):
        stack_labels(crops * 164, 20, 20)


def test_no_nuclei_give_one_empty_layer():
    layers, _ = stack_labels([], 4, 5)
    np.testing.assert_array_equal(layers, np.zeros((1, 4, 5)))


def test_layers_of_rles_and_flatten():
    a, b = np.zeros((6, 6), bool), np.zeros((6, 6), bool)
    a[:4, :4], b[2:, 2:] = True, True
    rles = [masks.encode(mask) for mask in (a, np.zeros_like(a), b)]
    annotations = [{"segmentation": rle} for rle in rles]
    layers = read_label_layers({"height": 6, "width": 6, "annotations": annotations})
    np.testing.assert_array_equal((layers == 1).any(axis=0), a)
    np.testing.assert_array_equal((layers == 3).any(axis=0), b)
    np.testing.assert_array_equal(flatten_labels(layers), np.where(b, 3, a * 1))


def test_distance_to_background_is_correctly_rounded():
    """SciPy's exact transform in float64 gives the expected distances."""
    mask = np.random.default_rng(0).random((200, 150)) > 0.02
    expected = ndimage.distance_transform_edt(mask).astype(np.float32)
    for threads in (1, 2):
        cv2.setNumThreads(threads)
        np.testing.assert_array_equal(distance_to_background(mask), expected)


def test_ipp_setting_is_restored():
    uses_ipp = cv2.ipp.useIPP()
    with opencv_without_ipp():
        assert not cv2.ipp.useIPP()
    assert cv2.ipp.useIPP() == uses_ipp


@pytest.mark.parametrize("counts", ["0000000000", "o" * 50, "ppppppppppp", "PPYo1" * 100, "\x00ÿ"])
def test_damaged_rles_raise(counts):
    with pytest.raises(ValueError, match="the RLE of a mask (cannot be decoded|does not fit)"):
        decode({"size": [10, 10], "counts": counts})


def test_rle_of_another_size_raises_before_decoding():
    rle = {"size": [10**6, 10**6], "counts": "0"}
    with pytest.raises(ValueError, match=r"an RLE of size \[1000000, 1000000\], expected \[4, 5\]"):
        decode_segmentation(rle, 4, 5)
