import json
import os
import shutil

import cv2
import numpy as np
import pytest
from detectron2.data import DatasetCatalog, MetadataCatalog

from dsb2018.config import get_dsb2018_cfg
from dsb2018.data import register_dsb2018, unregister_dsb2018
from dsb2018.evaluation import build_evaluators
from dsb2018.prepare import Options, prepare
from dsb2018.structures.ground_truth import read_label_layers
from tests.evaluation.cases import masks_of, to_instances, to_output


def test_evaluators_write_scores_labels_and_overlays(registered, tmp_path):
    cfg = get_dsb2018_cfg()
    cfg.OUTPUT_DIR = str(tmp_path)
    cfg.TEST.OVERLAYS = 2
    cfg.WANDB.ENABLED, cfg.WANDB.IMAGES = True, 3
    evaluators = build_evaluators(cfg, "dsb2018_sample_val")
    evaluators.reset()
    for item in DatasetCatalog.get("dsb2018_sample_val"):
        masks = masks_of(read_label_layers(item))
        evaluators.process([item], [to_output(to_instances(masks))])
    results = evaluators.evaluate()
    assert set(results) == {"bbox", "segm", "sem_seg", "nuclei"}
    folder = tmp_path / "inference" / "dsb2018_sample_val"
    assert (folder / "coco_instances.json").exists()
    names = sorted(os.listdir(folder / "labels"))
    assert names == [f"sample_val_0{number}.png" for number in range(3)]
    labels = cv2.imread(str(folder / "labels" / names[1]), cv2.IMREAD_UNCHANGED)
    true_masks = masks_of(read_label_layers(DatasetCatalog.get("dsb2018_sample_val")[1]))
    assert labels.dtype == np.uint16
    assert [np.array_equal(labels == n + 1, mask) for n, mask in enumerate(true_masks)] == [
        True for _ in true_masks
    ]
    overlays = sorted(os.listdir(folder / "overlays"))
    assert overlays == ["sample_val_00.png", "sample_val_01.png"]
    overlay = cv2.imread(str(folder / "overlays" / overlays[0]))
    assert overlay.shape == (512, 3 * 512 + 16, 3)
    panels = [overlay[:, start : start + 512] for start in (0, 520, 1040)]
    true_outlines, outlines = ((panel != panels[0]).any(axis=2) for panel in panels[1:])
    assert true_outlines.any()
    np.testing.assert_array_equal(outlines, true_outlines)  # the prediction is perfect


def test_unknown_evaluator_type_raises():
    MetadataCatalog.get("unknown_type").evaluator_type = "lvis"
    try:
        with pytest.raises(ValueError, match="'lvis', expected one of .'nuclei', 'coco'"):
            build_evaluators(get_dsb2018_cfg(), "unknown_type")
    finally:
        MetadataCatalog.remove("unknown_type")


def test_images_without_ground_truth_have_overlays_but_no_scores(dsb, tmp_path):
    for name in ("a", "b"):
        shutil.rmtree(dsb.add(name, []) / "masks")
    output = tmp_path / "prepared"
    prepare(Options(dsb.root, output, name="mine", workers=1, progress=False))
    cfg = get_dsb2018_cfg()
    cfg.OUTPUT_DIR = str(tmp_path)
    cfg.TEST.OVERLAYS = 1
    unregister_dsb2018()
    register_dsb2018(output)
    try:
        evaluators = build_evaluators(cfg, "dsb2018_mine")
        evaluators.reset()
        mask = np.zeros((1, 24, 32), bool)
        mask[0, 5:9, 5:9] = True
        for item in DatasetCatalog.get("dsb2018_mine"):
            evaluators.process([item], [to_output(to_instances(mask))])
        assert evaluators.evaluate() == {}
    finally:
        unregister_dsb2018()
    folder = tmp_path / "inference" / "dsb2018_mine"
    assert len(json.loads((folder / "coco_instances.json").read_text())) == 2
    assert cv2.imread(str(folder / "overlays" / "a.png")).shape == (48, 2 * 64 + 8, 3)
