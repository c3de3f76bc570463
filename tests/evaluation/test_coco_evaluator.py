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
from tests.evaluation.cases import masks_of, spoiled, tight_box, to_instances, to_output

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


def make_truth(images):
    """The COCO dict of (N, H, W) masks, one image each."""
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


def judge(truth, detections, image_ids, kind):
    """pycocotools, called directly; without boxes it takes the area of a mask from the mask."""
    if kind == "segm":
        detections = [{k: v for k, v in each.items() if k != "bbox"} for each in detections]
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO()
        coco.dataset = json.loads(json.dumps(truth))
        coco.createIndex()
        evaluation = COCOeval(coco, coco.loadRes(json.loads(json.dumps(detections))), kind)
        evaluation.params.imgIds = sorted(image_ids)
        evaluation.params.maxDets = [500]
        evaluation.evaluate()
        evaluation.accumulate()
    return read_coco_eval(evaluation)


@pytest.fixture(scope="module")
def crowded():
    """Truth and detections of six images: sizes of all three areas, and more than 100 nuclei."""
    rng = np.random.default_rng(3)
    images = [random_masks(rng, count) for count in (4, 12, 30, 150, 1, 8)]
    detections = []
    for image_id, masks in enumerate(images, start=1):
        found = spoiled(masks, rng)
        found = found[found.any(axis=(1, 2))]
        scores = rng.uniform(0.05, 1, len(found)).round(2)  # rounded, so that some are equal
        detections += results_of(to_instances(found, scores), image_id)
    return make_truth(images), detections


@pytest.mark.parametrize("kind", ["bbox", "segm"])
def test_the_numbers_are_those_of_pycocotools(crowded, kind):
    truth, detections = crowded
    found = coco_ap(truth, detections, list(range(1, 7)), kind)
    expected = judge(truth, detections, list(range(1, 7)), kind)
    assert 10 < found["AP"] < 90
    assert not np.isnan(list(found.values())).any()
    np.testing.assert_allclose(list(found.values()), list(expected.values()), rtol=0, atol=1e-10)


def test_only_the_images_that_were_evaluated_count(crowded):
    truth, detections = crowded
    some = [detection for detection in detections if detection["image_id"] in (2, 3)]
    found, expected = coco_ap(truth, some, [2, 3], "segm"), judge(truth, some, [2, 3], "segm")
    np.testing.assert_allclose(list(found.values()), list(expected.values()), atol=1e-10)
    assert found["AP"] > coco_ap(truth, some, list(range(1, 7)), "segm")["AP"]


@pytest.mark.parametrize("kind", ["bbox", "segm"])
def test_images_can_count_several_times(crowded, kind):
    """As in a dataset that has a copy of the image for each time."""
    truth, detections = crowded
    draw = [4, 1, 1, 2, 4, 4]  # the images 5, 2, 2, 3, 5, 5
    copies, found = {**truth, "images": [], "annotations": []}, []
    for number, index in enumerate(draw, start=1):
        copies["images"].append({**truth["images"][index], "id": number})
        for each in truth["annotations"]:
            if each["image_id"] == index + 1:
                name = len(copies["annotations"]) + 1
                copies["annotations"].append({**each, "image_id": number, "id": name})
        found += [{**d, "image_id": number} for d in detections if d["image_id"] == index + 1]
    matches = CocoMatches(truth, detections, list(range(1, 7)), kind)
    expected = judge(copies, found, list(range(1, 7)), kind)
    assert matches.scores(draw) == pytest.approx(expected, abs=1e-10, nan_ok=True)
    whole = coco_ap(truth, detections, list(range(1, 7)), kind)
    assert matches.scores() == whole
    without = CocoMatches(truth, detections, list(range(1, 7)), kind, by_area=False).scores()
    assert without == {name: whole[name] for name in ("AP", "AP50", "AP75", "AR")}


def test_an_image_of_more_than_100_nuclei_can_be_perfect():
    masks = np.zeros((144, SIZE, SIZE), bool)
    for number, mask in enumerate(masks):
        y, x = divmod(number, 12)
        mask[8 * y : 8 * y + 7, 8 * x : 8 * x + 7] = True
    found = coco_ap(make_truth([masks]), results_of(to_instances(masks), 1), [1], "segm")
    assert (found["AP"], found["AR"]) == (100, 100)


def test_nothing_found_and_nothing_to_find():
    rng = np.random.default_rng(0)
    truth = make_truth([random_masks(rng, 5)])
    assert coco_ap(truth, [], [1], "segm")["AP"] == 0
    empty = make_truth([np.zeros((0, SIZE, SIZE), bool)])
    assert np.isnan(coco_ap(empty, [], [1], "segm")["AP"])


def test_evaluator_on_the_sample(registered, tmp_path):
    from detectron2.data import DatasetCatalog, MetadataCatalog

    from dsb2018.structures.ground_truth import read_label_layers

    json_file = MetadataCatalog.get("dsb2018_sample_val").json_file
    evaluator = CocoEvaluator(tmp_path)
    rng = np.random.default_rng(0)
    for item in DatasetCatalog.get("dsb2018_sample_val"):
        masks = masks_of(read_label_layers(item))
        evaluator.process([item], [to_output(to_instances(spoiled(masks, rng)))])
    results = evaluator.evaluate()
    truth = json.loads(Path(json_file).read_text())
    detections = json.loads((tmp_path / "coco_instances.json").read_text())
    for kind in ("bbox", "segm"):
        expected = judge(truth, detections, list(range(1, 9)), kind)
        np.testing.assert_allclose(list(results[kind].values()), list(expected.values()))
    evaluator.reset()
    for item in DatasetCatalog.get("dsb2018_sample_val"):
        masks = masks_of(read_label_layers(item))
        evaluator.process([item], [to_output(to_instances(masks))])
    assert evaluator.evaluate()["segm"]["AP"] == 100


def test_the_area_of_a_detection_is_that_of_its_mask():
    """A made-up disc of 36 pixels is small as a mask (1018 < 32²) and medium as a box."""
    y, x = np.mgrid[:SIZE, :SIZE]
    true = np.array([(y < 40) & (x < 40)])
    disc = (y - 100) ** 2 + (x - 100) ** 2 <= 18**2
    assert disc.sum() < 32**2 < 36**2
    detections = results_of(to_instances(np.array([disc, true[0]]), [0.9, 0.8]), 1)
    assert coco_ap(make_truth([true]), detections, [1], "segm")["APm"] == 100
    assert coco_ap(make_truth([true]), detections, [1], "bbox")["APm"] == 50


def test_other_categories_are_refused():
    truth = {**make_truth([random_masks(np.random.default_rng(0), 2)]), "categories": [{"id": 7}]}
    with pytest.raises(ValueError, match=r"categories \[7\], expected one, with id 1"):
        coco_ap(truth, [], [1], "segm")


def test_the_ground_truth_is_that_of_the_dataset_dicts():
    masks = random_masks(np.random.default_rng(0), 3)
    item = {"image_id": 1, "height": SIZE, "width": SIZE}
    annotations = [{"segmentation": encode(mask)} for mask in masks]
    evaluator = CocoEvaluator()
    evaluator.process([{**item, "annotations": annotations}], [to_output(to_instances(masks))])
    assert evaluator.evaluate()["segm"]["AP"] == 100
    evaluator.reset()
    evaluator.process([item], [to_output(to_instances(masks))])
    assert evaluator.evaluate() == {}
