"""Exports of other programs whose names or marks could be misunderstood."""

import json

import cv2
import numpy as np
import pytest
import tifffile
from PIL import Image as PillowImage

from dsb2018.errors import UsageError
from dsb2018.prepare import InputError, prepare
from dsb2018.prepare.forms import matlab_file
from dsb2018.prepare.pipeline import Options
from dsb2018.structures.ground_truth import read_label_layers
from tests.prepare import forms
from tests.prepare.test_forms import items


@pytest.fixture
def run(tmp_path):
    def run(**options):
        return prepare(
            Options(
                **{"input": tmp_path / "in", "output": tmp_path / "out", "name": "x"}
                | {"workers": 1, "progress": False}
                | options
            )
        )

    return run


def write_masks(folder, change=lambda labels: labels, ending=""):
    folder.mkdir(parents=True, exist_ok=True)
    for name, labels in forms._labels().items():
        tifffile.imwrite(folder / f"{name}{ending}.tif", change(labels))


def test_output_inside_of_the_input_is_not_read_again(tmp_path, run):
    forms.stardist(tmp_path / "in")
    output = tmp_path / "in" / "datasets" / "dsb2018"
    assert run(output=output).datasets == {"dsb2018_x": (3, 12)}
    write_masks(tmp_path / "in" / "masks", lambda labels: np.where(labels == 1, 0, labels))
    assert run(output=output).datasets == {"dsb2018_x": (3, 9)}  # the corrected masks
    with pytest.raises(UsageError, match="the output folder is a folder of the input"):
        run(output=tmp_path / "in")


@pytest.mark.parametrize("mark", [1, True, "1"])
def test_masks_of_cvat_are_nuclei(tmp_path, run, mark):
    forms._write_images(tmp_path / "in")
    coco = forms._coco("", forms.encode)
    for annotation in coco["annotations"]:
        annotation["iscrowd"] = mark
    (tmp_path / "in" / "a.json").write_text(json.dumps(coco))
    assert run().datasets == {"dsb2018_x": (3, 12)}
    for annotation in coco["annotations"][1:]:
        annotation["iscrowd"] = "0"
    (tmp_path / "in" / "a.json").write_text(json.dumps(coco))
    assert run().datasets == {"dsb2018_x": (3, 11)}


def test_two_coco_files_of_the_same_images_are_joined(tmp_path, run):
    forms._write_images(tmp_path / "in")
    coco = forms._coco("", forms.encode)
    for name, part in (("a", slice(0, 5)), ("b", slice(5, None))):
        content = {**coco, "annotations": coco["annotations"][part]}
        (tmp_path / "in" / f"{name}.json").write_text(json.dumps(content))
    assert run().datasets == {"dsb2018_x": (3, 12)}


def test_images_of_coco_are_inside_of_the_input(tmp_path, run):
    forms._write_images(tmp_path / "in")
    forms._write_images(tmp_path / "outside", ending="_secret")
    coco = forms._coco("", forms.encode)
    coco["images"][0]["file_name"] = "../outside/a_1_secret.png"
    (tmp_path / "in" / "a.json").write_text(json.dumps(coco))
    with pytest.raises(InputError, match="image a_1_secret is missing .add it, or pass --skip-bad"):
        run()
    assert run(skip_bad=True).datasets == {"dsb2018_x": (2, 8)}


def test_one_label_image_in_a_folder_for_each_image(tmp_path, run):
    for name, labels in forms._labels().items():
        for folder, pixels in (("images", forms.draw_image(0)), ("masks", labels)):
            (tmp_path / "in" / name / folder).mkdir(parents=True)
            cv2.imwrite(str(tmp_path / "in" / name / folder / "a.png"), pixels)
    assert run().datasets == {"dsb2018_x": (3, 12)}


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (
            lambda labels: 1 + (labels > 0),
            "no pixel of the background, 0, but only",
        ),
        (lambda labels: labels % 2 + (labels > 0), "the values 1, 2 in . separate regions"),
        (lambda labels: 128 * (labels > 0), "the value 128 in 3 separate regions"),
        (lambda labels: 255 * (labels == 0), "the value 255 in more than half of the pixels"),
        (lambda labels: 255 * ((labels == 1) | (labels == 3)), "the value 255 in 2 separate"),
    ],
)
def test_classes_of_pixels_are_not_nuclei(tmp_path, run, change, problem):
    forms._write_images(tmp_path / "in" / "images")
    write_masks(tmp_path / "in" / "masks", lambda labels: change(labels).astype(np.uint8))
    with pytest.raises(InputError, match=f"{problem}.*--label-values regions"):
        run()
    assert run(label_values="foreground").datasets == {"dsb2018_x": (3, 0)}
    assert run(label_values="nuclei").datasets["dsb2018_x"][1] >= 3


def test_cellpose_writes_more_than_masks(tmp_path, run):
    forms._write_images(tmp_path / "in", ".tif", ending="_img")
    write_masks(tmp_path / "in", ending="_img_cp_masks")
    for name in forms.NAMES:
        np.save(tmp_path / "in" / f"{name}_img_seg.npy", {"masks": 1}, allow_pickle=True)
        tifffile.imwrite(tmp_path / "in" / f"{name}_img_flows.tif", forms.draw_image(0))
    assert run().datasets == {"dsb2018_x": (3, 12)}


def test_masks_beside_the_images_in_a_folder_of_images(tmp_path, run):
    forms._write_images(tmp_path / "in" / "images", ".tif")
    write_masks(tmp_path / "in" / "images", ending="_masks")
    assert run().datasets == {"dsb2018_x": (3, 12)}


def test_indexed_colors_are_numbers(tmp_path, run):
    forms._write_images(tmp_path / "in" / "images")
    (tmp_path / "in" / "masks").mkdir()
    for name, labels in forms._labels().items():
        image = PillowImage.fromarray(labels.astype(np.uint8), mode="P")
        image.putpalette([0, 0, 0] + [200, 30, 30] * 3 + [9, 9, 9])  # three nuclei of one color
        image.save(tmp_path / "in" / "masks" / f"{name}.png")
    assert run().datasets == {"dsb2018_x": (3, 12)}
    (layer,) = read_label_layers(items(tmp_path)["a_1"])
    assert (layer == 3).sum() == (forms.draw_labels(0) == 3).sum()


def classify(root, **classifications):
    """Rewrites the GeoJSON of the first image: classes and types of its objects."""
    path = root / "geojson" / "a_1.geojson"
    content = json.loads(path.read_text())
    features = content["features"] if isinstance(content, dict) else content
    for feature, properties in zip(features, classifications.values(), strict=False):
        feature["properties"] = properties
    path.write_text(json.dumps(content))


def test_classes_of_geojson(tmp_path, run):
    options = forms.qupath(tmp_path / "in")
    classify(
        tmp_path / "in",
        a={"classification": {"names": ["Tumor", "Positive"]}},
        b={"classification": {"name": "Stroma"}},
    )
    prepared = run(**options, categories=("Tumor: Positive", "Stroma"))
    assert prepared.datasets == {"dsb2018_x": (3, 2)}
    with pytest.raises(UsageError, match="--category tumor: not in the GeoJSON files, expected "):
        run(**options, categories=("tumor",))


def test_annotations_around_detections_are_no_nuclei(tmp_path, run):
    options = forms.qupath(tmp_path / "in")
    classify(tmp_path / "in", a={"objectType": "annotation"}, b={"objectType": "detection"})
    prepared = run(**options)
    assert prepared.datasets == {"dsb2018_x": (3, 11)}
    assert any("1 annotations were left out" in note for note in prepared.notes)


def test_category_and_group_that_have_no_effect_are_errors(tmp_path, run):
    forms.stardist(tmp_path / "in")
    with pytest.raises(UsageError, match="--category: input of the form 'labels' has no categor"):
        run(categories=("nucleus",))
    with pytest.raises(UsageError, match="--group is for a random split: pass --val-fraction"):
        run(group="a")


def test_nothing_usable_is_an_error_and_keeps_the_dataset(tmp_path, run):
    forms.stardist(tmp_path / "in")
    run()
    before = (tmp_path / "out" / "annotations" / "dsb2018_x.json").read_bytes()
    for path in (tmp_path / "in" / "masks").iterdir():
        path.write_bytes(b"")
    with pytest.raises(InputError, match="no usable image: image skipped: .*a_1.tif"):
        run(skip_bad=True)
    assert (tmp_path / "out" / "annotations" / "dsb2018_x.json").read_bytes() == before


def test_archive_without_rois_is_an_error(tmp_path, run):
    forms.roi_zips(tmp_path / "in")
    with forms.zipfile.ZipFile(tmp_path / "in" / "a_1_rois.zip", "w") as archive:
        archive.writestr("readme.txt", "")
    with pytest.raises(InputError, match="a_1_rois.zip: no .roi file in the archive"):
        run()


def test_one_mask_for_two_images_is_ambiguous(tmp_path, run):
    forms.stardist(tmp_path / "in")
    forms._write_images(tmp_path / "in" / "images", ".png")
    with pytest.raises(InputError, match="names of the images and of the ground truth do not"):
        run()


def test_deep_folders_are_an_error(tmp_path, run):
    forms.stardist(tmp_path / "in" / "/".join("abcdefghi"))
    with pytest.raises(InputError, match="folders in more than 8 levels"):
        run()


def test_reader_of_matlab_files_that_crashes(tmp_path, run, monkeypatch):
    forms.consep(tmp_path / "in")
    crash = "import os, signal; os.kill(os.getpid(), signal.SIGSEGV)"
    monkeypatch.setattr(matlab_file, "CODE", crash)
    with pytest.raises(InputError, match="a_1.mat: not a readable MATLAB file .its reader ended"):
        run()
