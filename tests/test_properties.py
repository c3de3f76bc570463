"""Properties that must hold for any input, checked by hypothesis against simple implementations."""

import itertools

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from pycocotools import mask as coco_mask

from dsb2018.evaluation import matching
from dsb2018.evaluation.metrics import compute_scores
from dsb2018.inference.export.kaggle import run_lengths
from dsb2018.inference.tiling.tiles import STRIDE, Tiling, divide
from dsb2018.prepare.splits import ImageInfo, random_splits
from dsb2018.report.entrants import labels_to_prediction
from dsb2018.structures.instances import from_instances, to_ground_truth, to_instances
from dsb2018.structures.labels import crop_layers, flatten_labels, stack_labels
from dsb2018.structures.masks import crop_mask, decode, encode
from dsb2018.structures.nuclei import Nuclei
from tests.inference.drawing import same_nuclei

SIZES = hnp.array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=24)
MASKS = hnp.arrays(bool, SIZES)
LABELS = hnp.arrays(np.uint8, SIZES, elements=st.integers(0, 6))


@given(MASKS)
def test_rle_round_trip_and_equality_with_pycocotools(mask):
    rle = encode(mask)
    np.testing.assert_array_equal(decode(rle), mask)
    expected = coco_mask.encode(np.asfortranarray(mask.astype(np.uint8)))
    assert rle["counts"] == expected["counts"].decode()


@given(MASKS)
def test_kaggle_run_lengths_round_trip(mask):
    crop = crop_mask(mask)
    if crop is None:
        return
    flat = np.zeros(mask.size, bool)
    numbers = list(map(int, run_lengths(crop, mask.shape[0]).split()))
    for first, length in zip(numbers[::2], numbers[1::2], strict=True):
        flat[first - 1 : first - 1 + length] = True
    np.testing.assert_array_equal(flat.reshape(mask.shape[::-1]).T, mask)


def renumber(labels: np.ndarray) -> np.ndarray:
    """Returns the labels, numbered from 1 without gaps."""
    return np.unique(np.append(labels.ravel(), 0), return_inverse=True)[1][:-1].reshape(
        labels.shape
    )


@given(LABELS)
def test_labels_round_trip_through_crops(labels):
    numbered = renumber(labels)
    crops = [crop_mask(numbered == k) for k in range(1, numbered.max() + 1)]
    layers, overlapping = stack_labels(crops, *labels.shape)
    assert overlapping == 0
    np.testing.assert_array_equal(flatten_labels(layers), numbered)
    nuclei = Nuclei.from_labels(numbered.astype(np.int32), np.ones(len(crops)))
    np.testing.assert_array_equal(nuclei.labels, numbered)


@given(hnp.arrays(bool, st.tuples(st.integers(0, 5), st.integers(1, 9), st.integers(1, 9))))
def test_label_layers_keep_all_pixels_of_overlapping_masks(masks):
    crops = [crop for crop in map(crop_mask, masks) if crop]
    layers, _ = stack_labels(crops, *masks.shape[1:])
    nonempty_masks = [mask for mask in masks if mask.any()]
    for label, mask in enumerate(nonempty_masks, start=1):
        np.testing.assert_array_equal((layers == label).any(axis=0), mask)


@given(LABELS)
def test_labels_round_trip_through_instances(labels):
    numbered = renumber(labels).astype(np.int32)
    prediction = labels_to_prediction(numbered)
    detections = from_instances(to_instances(prediction.detections))
    assert same_nuclei(detections.without_overlaps(0.5).labels, numbered)
    ground_truth = to_ground_truth(crop_layers(numbered.astype(np.uint8)[None]), labels.shape)
    assert len(ground_truth) == len(detections) == numbered.max()
    np.testing.assert_array_equal(ground_truth.gt_boxes.tensor.numpy(), detections.corners())


@given(LABELS, st.data())
def test_window_equals_part_of_the_label_image(labels, data):
    numbered = renumber(labels).astype(np.int32)
    nuclei = Nuclei.from_labels(numbered, np.ones(numbered.max(initial=0)))
    height, width = labels.shape
    y, x = data.draw(st.integers(0, height - 1)), data.draw(st.integers(0, width - 1))
    h, w = data.draw(st.integers(1, height - y)), data.draw(st.integers(1, width - x))
    np.testing.assert_array_equal(nuclei.window(y, x, h, w), numbered[y : y + h, x : x + w])


@settings(deadline=None)
@given(
    st.integers(1, 2000), st.integers(1, 2000), st.integers(64, 512), st.integers(0, 100), st.data()
)
def test_every_pixel_is_in_one_core(height, width, edge, margin, data):
    max_margin = (edge // STRIDE - 1) // 2 * STRIDE
    tiles = divide(height, width, Tiling(edge, min(margin, max_margin), whole=edge))
    covered = np.zeros((height, width), np.uint8)
    for (y, x, h, w), (wy, wx, wh, ww) in tiles:
        covered[y : y + h, x : x + w] += 1
        assert wy <= y
        assert wx <= x
        assert wy + wh >= y + h
        assert wx + ww >= x + w
        assert max(wh, ww) <= edge + STRIDE
        assert wy % STRIDE == wx % STRIDE == 0
    assert (covered == 1).all()


@given(LABELS, st.data())
def test_matching_against_brute_force(true, data):
    predicted = data.draw(hnp.arrays(np.uint8, true.shape, elements=st.integers(0, 4)))
    counts = matching.compare(true[None], predicted)
    true_masks = [true == label for label in np.unique(true) if label]
    predicted_masks = [predicted == label for label in np.unique(predicted) if label]
    assert (counts.true, counts.predicted) == (len(true_masks), len(predicted_masks))
    iou = np.array([[(a & b).sum() / (a | b).sum() for b in predicted_masks] for a in true_masks])
    for threshold, tp in zip(matching.KAGGLE_THRESHOLDS, counts.kaggle_tp, strict=True):
        assert tp == largest_matching(iou > threshold if iou.size else np.zeros((0, 0), bool))
    for threshold, tp in zip(matching.STARDIST_THRESHOLDS, counts.stardist_tp, strict=True):
        assert tp == largest_matching(iou >= threshold if iou.size else np.zeros((0, 0), bool))


def largest_matching(allowed: np.ndarray) -> int:
    """Returns the size of the largest one-to-one matching, by trying all permutations."""
    if not allowed.size:
        return 0
    if allowed.shape[0] > allowed.shape[1]:
        allowed = allowed.T
    rows = range(allowed.shape[0])
    permutations = itertools.permutations(range(allowed.shape[1]), allowed.shape[0])
    return max(
        sum(allowed[row, column] for row, column in zip(rows, columns, strict=True))
        for columns in permutations
    )


@given(LABELS)
def test_perfect_prediction_scores_100(labels):
    scores = compute_scores("nuclei", [matching.compare(labels[None], labels)])
    values = [scores[name] for name in ("mAP", "AP50", "AP90", "F1@50", "PQ", "AJI")]
    expected = 100.0 if labels.any() else np.nan
    assert scores["mAP"] == scores["AJI"] == 100
    np.testing.assert_allclose(values[1:5], expected)
    np.testing.assert_allclose(scores["count_error"], 0 if labels.any() else np.nan)


@given(
    st.lists(st.tuples(st.integers(0, 8), st.sampled_from("fhb")), min_size=4, max_size=60),
    st.floats(0.05, 0.6),
    st.integers(0, 5),
)
def test_random_splits_keep_groups_and_all_images(images, fraction, seed):
    info = {
        f"i{number}": ImageInfo(modality, f"{modality}{group}")
        for number, (group, modality) in enumerate(images)
    }
    try:
        splits = random_splits(list(info), info, fraction, seed)
    except ValueError:  # every group is too large, so the validation set would be empty
        return
    train, val = (set(splits[f"dsb2018_{name}"]) for name in ("train", "val"))
    assert train | val == set(info)
    assert not train & val
    assert not {info[i].group for i in train} & {info[i].group for i in val}
    assert splits == random_splits(sorted(info, reverse=True), info, fraction, seed)
