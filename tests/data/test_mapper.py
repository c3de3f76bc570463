import numpy as np
import pytest
import torch
from detectron2.data import DatasetCatalog, DatasetMapper
from detectron2.data import transforms as T

from dsb2018.config import get_dsb2018_cfg
from dsb2018.data import EvaluationMapper, TrainingMapper
from dsb2018.data.targets import interior_map
from dsb2018.structures.instances import to_ground_truth
from dsb2018.structures.labels import crop_layers
from dsb2018.structures.masks import encode


def sort_by_mask(instances):
    return sorted(
        (mask.numpy().tobytes(), tuple(box.tolist()))
        for mask, box in zip(instances.gt_masks.tensor, instances.gt_boxes.tensor, strict=True)
    )


def test_samples_equal_those_of_detectron2s_mapper(registered):
    """The stock mapper, which transforms one mask per nucleus, gives the expected samples."""
    augmentations = [T.RandomFlip(), T.RandomCrop("absolute", (150, 170))]
    ours = TrainingMapper(augmentations=augmentations, image_format="BGR")
    stock = DatasetMapper(
        True,
        augmentations=augmentations,
        image_format="BGR",
        use_instance_mask=True,
        instance_mask_format="bitmask",
        recompute_boxes=True,
    )
    for item in DatasetCatalog.get("dsb2018_sample_val"):
        np.random.seed(3)
        sample = ours(item)
        np.random.seed(3)
        expected = stock(item)
        torch.testing.assert_close(sample["image"], expected["image"])
        assert sort_by_mask(sample["instances"]) == sort_by_mask(expected["instances"])
        union = expected["instances"].gt_masks.tensor.any(dim=0)
        torch.testing.assert_close(sample["sem_seg"], union.long())


def test_augmented_targets_are_consistent(registered):
    cfg = get_dsb2018_cfg()
    cfg.INPUT.CROP_TRAIN, cfg.INPUT.MIN_AREA, cfg.MODEL.MASK_ON = 128, 1, True
    cfg.MODEL.DENSE.SEPARATION = "distance"
    mapper = TrainingMapper(cfg)
    np.random.seed(0)
    for item in DatasetCatalog.get("dsb2018_sample_train")[:6]:
        sample = mapper(item)
        instances, union = sample["instances"], sample["sem_seg"]
        assert sample["image"].dtype == torch.uint8
        assert sample["image"].shape == (3, *union.shape)
        masks = instances.gt_masks.tensor
        torch.testing.assert_close(masks.any(dim=0).long(), union)
        labels = (masks * torch.arange(1, len(masks) + 1)[:, None, None]).sum(dim=0)
        expected = interior_map(labels[None].numpy().astype(np.uint16), "distance")
        np.testing.assert_allclose(sample["interior"], expected, atol=1e-6)
        boxes = instances.gt_masks.get_bounding_boxes().tensor
        torch.testing.assert_close(boxes, instances.gt_boxes.tensor)
        assert "annotations" not in sample
        assert item["annotations"]  # the input dict has not changed


def test_evaluation_mapper_keeps_the_ground_truth(registered):
    item = DatasetCatalog.get("dsb2018_sample_val")[0]
    sample = EvaluationMapper(get_dsb2018_cfg())(item)
    assert sample["image"].shape == (3, 256, 256)
    assert sample["label_file"] == item["label_file"]
    assert "instances" not in sample
    without_file = {key: value for key, value in item.items() if key != "label_file"}
    sample = EvaluationMapper(get_dsb2018_cfg())(without_file)
    assert sample["annotations"] == item["annotations"]


def test_wrong_image_size_raises(registered):
    item = DatasetCatalog.get("dsb2018_sample_val")[0]
    mapper = TrainingMapper(augmentations=[], image_format="RGB")
    with pytest.raises(ValueError, match=r"\(256, 256\) pixels, expected \(256, 99\)"):
        mapper({**item, "width": 99})


def test_image_without_nuclei(registered):
    item = DatasetCatalog.get("dsb2018_sample_val")[0]
    empty = {key: value for key, value in item.items() if key != "label_file"}
    sample = TrainingMapper(augmentations=[], image_format="RGB")({**empty, "annotations": []})
    assert len(sample["instances"]) == 0
    assert sample["instances"].gt_masks.tensor.shape == (0, 256, 256)
    assert sample["instances"].gt_boxes.tensor.shape == (0, 4)
    assert sample["sem_seg"].sum() == 0


def test_overlapping_nuclei_keep_all_pixels():
    layers = np.zeros((2, 9, 9), np.uint8)
    layers[0, 1:5, 1:5], layers[1, 3:8, 3:8] = 1, 2
    instances = to_ground_truth(crop_layers(layers), (9, 9))
    assert [encode(mask.numpy()) for mask in instances.gt_masks.tensor] == [
        encode(layers[0] == 1),
        encode(layers[1] == 2),
    ]
    assert instances.gt_boxes.tensor.tolist() == [[1, 1, 5, 5], [3, 3, 8, 8]]


def test_small_nuclei_are_not_instances():
    layers = np.zeros((1, 9, 9), np.uint8)
    layers[0, 0, 0], layers[0, 3:6, 3:6] = 1, 2
    assert len(crop_layers(layers, min_area=2)) == 1


def test_dense_models_get_no_instances(registered):
    cfg = get_dsb2018_cfg()
    sample = TrainingMapper(cfg)(DatasetCatalog.get("dsb2018_sample_train")[0])
    assert "instances" not in sample
    assert "interior" not in sample
    assert sample["sem_seg"].any()
