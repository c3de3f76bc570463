import json

import numpy as np
import pytest
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.structures import BoxMode

from dsb2018.data import register_dsb2018, unregister_dsb2018
from dsb2018.data.catalog import NAMES
from dsb2018.structures.ground_truth import read_label_layers
from dsb2018.structures.masks import decode


def test_registration_is_lazy_and_repeatable(tmp_path):
    unregister_dsb2018()
    try:
        assert register_dsb2018(tmp_path / "absent") == list(NAMES)
        register_dsb2018(tmp_path / "absent")
        with pytest.raises(
            FileNotFoundError, match=r"prepare_dsb2018\.py --input … --output .*absent"
        ):
            DatasetCatalog.get("dsb2018_train")
        with pytest.raises(ValueError, match="dsb2018_train is already registered from .*absent"):
            register_dsb2018(tmp_path / "other")
    finally:
        unregister_dsb2018()
    assert not set(NAMES) & set(DatasetCatalog.list())


def test_root_from_environment_variable(sample_root, monkeypatch):
    monkeypatch.setenv("DETECTRON2_DATASETS", str(sample_root.parent))
    unregister_dsb2018()
    try:
        register_dsb2018()
        assert len(DatasetCatalog.get("dsb2018_sample_val")) == 8
    finally:
        unregister_dsb2018()


def test_all_prepared_datasets_are_registered(tmp_path):
    (tmp_path / "annotations").mkdir()
    (tmp_path / "annotations" / "dsb2018_mine.json").write_text("{}")
    unregister_dsb2018()
    try:
        assert "dsb2018_mine" in register_dsb2018(tmp_path)
    finally:
        unregister_dsb2018()


def test_dicts_have_detectron2_format_and_consistent_labels(registered):
    dicts = DatasetCatalog.get("dsb2018_sample_train")
    assert [item["image_id"] for item in dicts] == list(range(1, 25))
    assert {item["modality"] for item in dicts} == {"fluorescence", "histology", "brightfield"}
    item = dicts[4]
    layers = read_label_layers(item)
    for label, annotation in enumerate(item["annotations"], start=1):
        assert annotation["bbox_mode"] == BoxMode.XYWH_ABS
        assert annotation["category_id"] == 0
        mask = decode(annotation["segmentation"])
        np.testing.assert_array_equal((layers == label).any(axis=0), mask)
    without_file = {key: value for key, value in item.items() if key != "label_file"}
    np.testing.assert_array_equal(read_label_layers(without_file), layers)
    assert MetadataCatalog.get("dsb2018_sample_train").thing_classes == ["nucleus"]


def test_missing_and_invalid_ground_truth_raises(registered, tmp_path):
    item = DatasetCatalog.get("dsb2018_sample_val")[0]
    with pytest.raises(ValueError, match=r"of shape \(layers, 9, 256\); prepare the dataset again"):
        read_label_layers({**item, "height": 9})
    with pytest.raises(ValueError, match="no ground truth, expected label_file"):
        read_label_layers({"file_name": "x.png", "height": 4, "width": 4})
    polygons = [{"segmentation": [[0, 0, 1, 1]]}]
    with pytest.raises(ValueError, match="a polygon of 2 points, expected"):
        read_label_layers({"height": 4, "width": 4, "annotations": polygons})


def test_image_root_in_json(registered):
    coco = json.loads((registered / "annotations" / "dsb2018_sample_val.json").read_text())
    assert coco["info"]["image_root"] == "sample/stage1_train"
