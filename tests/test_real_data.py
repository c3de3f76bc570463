"""Tests with real images. They are skipped if the images are not available."""

import json
import shutil

import cv2
import numpy as np
import pytest

from dsb2018.checkpoint import FOLDER
from dsb2018.commands.train import training_parser
from dsb2018.data import unregister_dsb2018
from dsb2018.engine import run
from dsb2018.prepare import Options, prepare
from dsb2018.prepare.splits import read_image_info
from dsb2018.structures.masks import decode
from tests.configs import CONFIGS

# Name of the weights → config, and least AP50 of nuclei in fluorescence and in histology.
PACKAGED = {
    "mask_rcnn_lite0_FPN": ("mask_rcnn/lite0_FPN", 60, 40),
    "nuclei": ("unet/nuclei", 60, 40),
    "nuclei_fast": ("unet/nuclei_fast", 60, 40),
    "semantic_fpn_lite0": ("semantic_fpn/lite0", 60, 40),
    "simple_cnn": ("simple_cnn/simple_cnn", 40, 10),
    "unet": ("unet/unet", 60, 30),
    "unet_light": ("unet/unet_light", 60, 40),
}


@pytest.fixture(scope="module")
def real_sample(real_data, tmp_path_factory):
    """The prepared root and the DSB folder of a dataset `dsb2018_some`.

    It has the two smallest validation images of each modality. `dsb2018_stained` has no bright
    field, which is not tested with models: 14 training images are too few (see MODEL_ZOO.md).
    """
    project = CONFIGS.parent
    info = read_image_info(project / "datasets/modality.csv")
    ids = (project / "datasets/splits/val.txt").read_text().split()
    images = real_data / "stage1_train"
    ids.sort(key=lambda i: (images / i / "images" / f"{i}.png").stat().st_size)
    sample_ids = []
    for modality in ("fluorescence", "histology", "brightfield"):
        sample_ids += [i for i in ids if info[i].modality == modality][:2]
    folder, root = tmp_path_factory.mktemp("real"), tmp_path_factory.mktemp("prepared")
    for image_id in sample_ids:
        shutil.copytree(images / image_id, folder / image_id)
    modality = project / "datasets/modality.csv"
    options = {"modality": modality, "workers": 1, "progress": False}
    prepare(Options(folder, root, name="some", **options))
    stained = tmp_path_factory.mktemp("stained")
    for image_id in sample_ids:
        if info[image_id].modality != "brightfield":
            (stained / image_id).symlink_to(folder / image_id)
    prepare(Options(stained, root, name="stained", **options))
    return root, folder


def test_real_masks_are_converted_without_loss(real_sample):
    root, folder = real_sample
    coco = json.loads((root / "annotations/dsb2018_some.json").read_text())
    assert {image["modality"] for image in coco["images"]} == {
        "fluorescence",
        "histology",
        "brightfield",
    }
    for image in coco["images"]:
        annotations = [a for a in coco["annotations"] if a["image_id"] == image["id"]]
        files = sorted((folder / image["dsb_id"] / "masks").glob("*.png"))
        assert len(annotations) == len(files) > 0
        for annotation, file in zip(annotations, files, strict=True):
            mask = cv2.imread(str(file), cv2.IMREAD_UNCHANGED)
            np.testing.assert_array_equal(decode(annotation["segmentation"]), mask == 255)


def test_all_packaged_weights_are_tested():
    assert {path.stem for path in FOLDER.glob("*.safetensors")} == set(PACKAGED)


@pytest.mark.parametrize("name", PACKAGED)
def test_packaged_weights_on_real_images(real_sample, tmp_path, name):
    config, fluorescence, histology = PACKAGED[name]
    config = str(CONFIGS / f"{config}.yaml")
    options = ["MODEL.WEIGHTS", f"dsb2018://{name}", "OUTPUT_DIR", str(tmp_path)]
    options += ["DATASETS.TEST", "('dsb2018_stained',)", "DATALOADER.NUM_WORKERS", "0"]
    command = ["--config-file", config, "--data", str(real_sample[0]), "--eval-only", *options]
    unregister_dsb2018()
    try:
        results = run(training_parser().parse_args(command))
    finally:
        unregister_dsb2018()
    assert results["nuclei"]["AP50/fluorescence"] > fluorescence
    assert results["sem_seg"]["IoU/fluorescence"] > 65
    assert results["nuclei"]["AP50/histology"] > histology
    assert results["sem_seg"]["IoU/histology"] > 55
