import contextlib
import io
import json
from pathlib import Path

import numpy as np
import pytest
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from dsb2018.evaluation import CocoEvaluator
from dsb2018.evaluation.coco_evaluator import CocoMatches, read_coco_eval, to_coco_results
from dsb2018.structures.instances import from_instances
from dsb2018.structures.masks import encode
from tests.evaluation.cases import imperfect_masks, masks_of, tight_box, to_instances, to_output

SIZE = 160  # pixels: large enough for a nucleus of COCO's area "large"


def random_masks(rng, count, size=SIZE):
    masks = []
    for _ in range(count):
        y, x = np.mgrid[:size, :size]
        center, radii = rng.uniform(0, size, 2), rng.uniform(3, 70, 2)
        mask = ((y - center[0]) / radii[0]) ** 2 + ((x - center[1]) / radii[1]) ** 2 <= 1
        if mask.any():
            masks.append(mask)
    return np.array(masks)


def make_ground_truth(images):
    """Returns the COCO dict of images, each given as (N, H, W) masks."""
    annotations = []
    for image_id, masks in enumerate(images, start=1):
        for mask in masks:
            x0, y0, x1, y1 = (int(edge) for edge in tight_box(mask))
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": image_id,
                    "category_id": 1,
                    "bbox": [x0, y0, x1 - x0, y1 - y0],
                    "area": int(mask.sum()),
                    "iscrowd": 0,
                    "segmentation": encode(mask),
                }
            )
    return {
        "info": {},
        "categories": [{"id": 1, "name": "nucleus"}],
        "images": [
            {"id": number, "height": SIZE, "width": SIZE} for number in range(1, len(images) + 1)
        ],
        "annotations": annotations,
    }


def results_of(instances, image_id):
    return to_coco_results(from_instances(instances), image_id)


def coco_ap(*arguments):
    return CocoMatches(*arguments).scores()


def pycocotools_ap(ground_truth, detections, image_ids, kind):
    """Scores of pycocotools. Without boxes, the area of a detection is that of its mask."""
    if kind == "segm":
        detections = [{k: v for k, v in d.items() if k != "bbox"} for d in detections]
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO()
        coco.dataset = json.loads(json.dumps(ground_truth))
        coco.createIndex()
        evaluation = COCOeval(coco, coco.loadRes(json.loads(json.dumps(detections))), kind)
        evaluation.params.imgIds = sorted(image_ids)
        evaluation.params.maxDets = [500]
        evaluation.evaluate()
        evaluation.accumulate()
    return read_coco_eval(evaluation)


@pytest.fixture(scope="module")
def crowded():
    """Ground truth and detections of six images: all of COCO's sizes, and over 100 nuclei."""
    rng = np.random.default_rng(3)
    images = [random_masks(rng, count) for count in (4, 12, 30, 150, 1, 8)]
    detections = []
    for image_id, masks in enumerate(images, start=1):
        predicted = imperfect_masks(masks, rng)
        predicted = predicted[predicted.any(axis=(1, 2))]
        scores = rng.uniform(0.05, 1, len(predicted)).round(2)  # some are equal after rounding
        detections += results_of(to_instances(predicted, scores), image_id)
    return make_ground_truth(images), detections


@pytest.mark.parametrize("kind", ["bbox", "segm"])
def test_scores_equal_those_of_pycocotools(crowded, kind):
    ground_truth, detections = crowded
    scores = coco_ap(ground_truth, detections, list(range(1, 7)), kind)
    expected = pycocotools_ap(ground_truth, detections, list(range(1, 7)), kind)
    assert 10 < scores["AP"] < 90
    assert not np.isnan(list(scores.values())).any()
    np.testing.assert_allclose(list(scores.values()), list(expected.values()), rtol=0, atol=1e-10)


def test_only_evaluated_images_count(crowded):
    ground_truth, detections = crowded
    detections = [detection for detection in detections if detection["image_id"] in (2, 3)]
    scores = coco_ap(ground_truth, detections, [2, 3], "segm")
    expected = pycocotools_ap(ground_truth, detections, [2, 3], "segm")
    np.testing.assert_allclose(list(scores.values()), list(expected.values()), atol=1e-10)
    assert scores["AP"] > coco_ap(ground_truth, detections, list(range(1, 7)), "segm")["AP"]


@pytest.mark.parametrize("kind", ["bbox", "segm"])
def test_images_can_be_drawn_several_times(crowded, kind):
    """The expected scores are those of a dataset with copies of the images."""
    ground_truth, detections = crowded
    draw = [4, 1, 1, 2, 4, 4]  # the images 5, 2, 2, 3, 5, 5
    copies, copied_detections = {**ground_truth, "images": [], "annotations": []}, []
    for number, index in enumerate(draw, start=1):
        copies["images"].append({**ground_truth["images"][index], "id": number})
        for annotation in ground_truth["annotations"]:
            if annotation["image_id"] == index + 1:
                new_id = len(copies["annotations"]) + 1
                copies["annotations"].append({**annotation, "image_id": number, "id": new_id})
        copied_detections += [
            {**d, "image_id": number} for d in detections if d["image_id"] == index + 1
        ]
    matches = CocoMatches(ground_truth, detections, list(range(1, 7)), kind)
    expected = pycocotools_ap(copies, copied_detections, list(range(1, 7)), kind)
    assert matches.scores(draw) == pytest.approx(expected, abs=1e-10, nan_ok=True)
    all_scores = coco_ap(ground_truth, detections, list(range(1, 7)), kind)
    assert matches.scores() == all_scores
    scores = CocoMatches(ground_truth, detections, list(range(1, 7)), kind, by_area=False).scores()
    assert scores == {name: all_scores[name] for name in ("AP", "AP50", "AP75", "AR")}


def test_more_than_100_nuclei_can_score_100():
    masks = np.zeros((144, SIZE, SIZE), bool)
    for number, mask in enumerate(masks):
        y, x = divmod(number, 12)
        mask[8 * y : 8 * y + 7, 8 * x : 8 * x + 7] = True
    scores = coco_ap(make_ground_truth([masks]), results_of(to_instances(masks), 1), [1], "segm")
    assert (scores["AP"], scores["AR"]) == (100, 100)


def test_no_detections_and_no_true_nuclei():
    rng = np.random.default_rng(0)
    ground_truth = make_ground_truth([random_masks(rng, 5)])
    assert coco_ap(ground_truth, [], [1], "segm")["AP"] == 0
    empty = make_ground_truth([np.zeros((0, SIZE, SIZE), bool)])
    assert np.isnan(coco_ap(empty, [], [1], "segm")["AP"])


def test_evaluator_on_the_sample(registered, tmp_path):
    from detectron2.data import DatasetCatalog, MetadataCatalog

    from dsb2018.structures.ground_truth import read_label_layers

    json_file = MetadataCatalog.get("dsb2018_sample_val").json_file
    evaluator = CocoEvaluator(tmp_path)
    rng = np.random.default_rng(0)
    for item in DatasetCatalog.get("dsb2018_sample_val"):
        masks = masks_of(read_label_layers(item))
        evaluator.process([item], [to_output(to_instances(imperfect_masks(masks, rng)))])
    results = evaluator.evaluate()
    ground_truth = json.loads(Path(json_file).read_text())
    detections = json.loads((tmp_path / "coco_instances.json").read_text())
    for kind in ("bbox", "segm"):
        expected = pycocotools_ap(ground_truth, detections, list(range(1, 9)), kind)
        np.testing.assert_allclose(list(results[kind].values()), list(expected.values()))
    evaluator.reset()
    for item in DatasetCatalog.get("dsb2018_sample_val"):
        masks = masks_of(read_label_layers(item))
        evaluator.process([item], [to_output(to_instances(masks))])
    assert evaluator.evaluate()["segm"]["AP"] == 100


def test_area_of_a_detection_is_that_of_its_mask():
    """A false disc, 36 pixels wide, is small as a mask (1018 < 32²) and medium as a box."""
    y, x = np.mgrid[:SIZE, :SIZE]
    true_masks = np.array([(y < 40) & (x < 40)])
    disc = (y - 100) ** 2 + (x - 100) ** 2 <= 18**2
    assert disc.sum() < 32**2 < 36**2
    detections = results_of(to_instances(np.array([disc, true_masks[0]]), [0.9, 0.8]), 1)
    assert coco_ap(make_ground_truth([true_masks]), detections, [1], "segm")["APm"] == 100
    assert coco_ap(make_ground_truth([true_masks]), detections, [1], "bbox")["APm"] == 50


def test_other_categories_raise():
    ground_truth = make_ground_truth([random_masks(np.random.default_rng(0), 2)])
    ground_truth["categories"] = [{"id": 7}]
    with pytest.raises(ValueError, match=r"categories \[7\], expected one, with id 1"):
        coco_ap(ground_truth, [], [1], "segm")


def test_ground_truth_is_read_from_the_dataset_dicts():
    masks = random_masks(np.random.default_rng(0), 3)
    item = {"image_id": 1, "height": SIZE, "width": SIZE}
    annotations = [{"segmentation": encode(mask)} for mask in masks]
    evaluator = CocoEvaluator()
    evaluator.process([{**item, "annotations": annotations}], [to_output(to_instances(masks))])
    assert evaluator.evaluate()["segm"]["AP"] == 100
    evaluator.reset()
    evaluator.process([item], [to_output(to_instances(masks))])
    assert evaluator.evaluate() == {}
