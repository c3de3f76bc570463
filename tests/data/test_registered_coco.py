"""COCO datasets that are registered in Detectron2's own way."""

import json

import numpy as np
import pytest
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.data.datasets import register_coco_instances

from dsb2018.commands.train import training_parser
from dsb2018.data import check_annotations
from dsb2018.engine.setup import run, setup
from dsb2018.errors import UsageError
from dsb2018.structures.ground_truth import read_label_layers
from tests.configs import CONFIGS

NAME = "my_nuclei"


@pytest.fixture
def polygons(registered, tmp_path):
    """A COCO file of the sample images with polygons: the dataset is registered in the test."""
    coco = json.loads((registered / "annotations" / "dsb2018_sample_val.json").read_text())
    items = {item["image_id"]: item for item in DatasetCatalog.get("dsb2018_sample_val")}
    for annotation in coco["annotations"]:
        x, y, width, height = annotation["bbox"]
        corners = [x, y, x + width, y, x + width, y + height, x, y + height]
        annotation["segmentation"] = [[float(value) for value in corners]]
    for image in coco["images"]:
        image["file_name"] = items[image["id"]]["file_name"]
    coco["info"] = {}
    path = tmp_path / "polygons.json"
    path.write_text(json.dumps(coco))
    register_coco_instances(NAME, {}, str(path), "")
    yield path
    DatasetCatalog.remove(NAME)
    MetadataCatalog.remove(NAME)


def arguments(root, output, *options):
    parser = training_parser()
    return parser.parse_args(
        [
            *("--config-file", str(CONFIGS / "unet" / "unet_light.yaml"), "--data", str(root)),
            *("DATASETS.TRAIN", f"('{NAME}',)", "DATASETS.TEST", f"('{NAME}',)"),
            *("OUTPUT_DIR", str(output), "SOLVER.MAX_ITER", "2", "SOLVER.IMS_PER_BATCH", "2"),
            *("DATALOADER.NUM_WORKERS", "0", "INPUT.CROP_TRAIN", "64", *options),
        ]
    )


def test_polygons_are_the_ground_truth(polygons):
    item = DatasetCatalog.get(NAME)[0]
    layers = read_label_layers(item)
    first = item["annotations"][0]
    x, y, width, height = map(int, first["bbox"])
    expected = np.zeros(layers.shape[1:], bool)
    expected[y : y + height, x : x + width] = True
    found = (layers == 1).any(axis=0)
    assert (found & expected).sum() / (found | expected).sum() > 0.9


def test_training_and_evaluation(polygons, registered, tmp_path):
    results = run(arguments(registered, tmp_path / "out"))
    assert 0 <= results["nuclei"]["mAP"] <= 100
    assert (tmp_path / "out" / "inference" / NAME / "images.csv").exists()


def test_several_categories_are_refused_with_a_remedy(polygons, registered, tmp_path):
    coco = json.loads(polygons.read_text())
    coco["categories"] = [{"id": 1, "name": "nucleus"}, {"id": 2, "name": "mitosis"}]
    coco["annotations"][0]["category_id"] = 2
    polygons.write_text(json.dumps(coco))
    message = (
        f"dataset {NAME} has the categories nucleus, mitosis, expected one; .*"
        "prepare_dsb2018.py --input .* --truth .*polygons.json --category nucleus --name NAME"
    )
    with pytest.raises(UsageError, match=message):
        run(arguments(registered, tmp_path / "a", "DATASETS.TEST", "('dsb2018_sample_val',)"))
    with pytest.raises(UsageError, match=message):  # before the first iteration
        setup(arguments(registered, tmp_path / "b", "DATASETS.TRAIN", "('dsb2018_sample_val',)"))


def test_models_of_single_nuclei_refuse_foreground_masks():
    items = [{"image_id": 7, "annotations": [], "foreground_only": True}]
    check_annotations("x", items)
    with pytest.raises(UsageError, match="dataset x: only the foreground of image 7 is known"):
        check_annotations("x", items, needs_nuclei=True)
