"""Tests of `--measure-only`: nuclei that were found before, and perhaps corrected."""

import json
import shutil
import unicodedata

import cv2
import numpy as np
import pandas as pd
import pytest
import tifffile

from dsb2018.commands.predict import main
from dsb2018.inference import predictor
from dsb2018.inference.given_nuclei import visible_parts
from dsb2018.structures.masks import Crop
from tests.inference.drawing import micrograph

KINDS = ("labels", "cellpose", "rois", "geojson")


@pytest.fixture
def found(tmp_path):
    """Two images in `in`, and their nuclei in `out` in several formats."""
    (tmp_path / "in").mkdir()
    for seed in range(2):
        cv2.imwrite(str(tmp_path / "in" / f"i{seed}.png"), micrograph((96, 128), seed)[0])
    assert run(tmp_path, "out", "--diameter", "20", "--format", *KINDS) == 0
    return tmp_path


def run(folder, output, *options) -> int:
    return main(["--input", str(folder / "in"), "--output", str(folder / output), *options])


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_nuclei_give_the_same_numbers(found, kind, monkeypatch):
    monkeypatch.setattr(predictor, "open_model", None)  # no model is opened
    shutil.copytree(found / "out" / kind, found / "corrected")
    assert run(found, "again", "--measure-only", str(found / "corrected")) == 0
    before, after = (pd.read_csv(found / name / "nuclei.csv") for name in ("out", "again"))
    key = ["image", "centroid_y", "centroid_x"]
    before, after = (table.sort_values(key).reset_index() for table in (before, after))
    columns = [name for name in before.columns if name not in ("index", "label", "score")]
    pd.testing.assert_frame_equal(before[columns], after[columns])
    assert (after["score"] == 1).all()


def test_corrections_change_the_numbers(found):
    shutil.copytree(found / "out" / "labels", found / "corrected")
    path = found / "corrected" / "i0.tif"
    labels = tifffile.imread(path)
    removed = (labels == 1).sum()
    tifffile.imwrite(path, np.where(labels == 1, 0, labels))
    assert run(found, "again", "--measure-only", str(found / "corrected")) == 0
    before, after = (pd.read_csv(found / name / "nuclei.csv") for name in ("out", "again"))
    assert len(after) == len(before) - 1
    assert after["area"].sum() == before["area"].sum() - removed


def test_an_image_without_nuclei_files_fails(found, capsys):
    (found / "corrected").mkdir()
    shutil.copy(found / "out" / "labels" / "i0.tif", found / "corrected")
    assert run(found, "again", "--measure-only", str(found / "corrected")) == 1
    assert "i1.png: no nuclei of this image in" in capsys.readouterr().err
    assert len(pd.read_csv(found / "again" / "images.csv")) == 1


def test_annotations_beside_detections_are_reported(found, caplog):
    """What somebody draws in QuPath is an annotation; the nuclei of `geojson` are detections."""
    shutil.copytree(found / "out" / "geojson", found / "corrected")
    path = found / "corrected" / "i0.geojson"
    content = json.loads(path.read_text())
    drawn = {**content["features"][0], "properties": {"objectType": "annotation"}}
    path.write_text(json.dumps({**content, "features": [*content["features"], drawn]}))
    assert run(found, "again", "--measure-only", str(found / "corrected")) == 0
    assert f"{path}: 1 annotations were left out" in caplog.text


def test_files_of_two_kinds_are_refused(found, capsys):
    """Corrected ROIs would be ignored beside the label images."""
    shutil.copytree(found / "out" / "labels", found / "corrected")
    shutil.copy(found / "out" / "rois" / "i0.zip", found / "corrected")
    assert run(found, "again", "--measure-only", str(found / "corrected")) == 1
    assert "ground truth of several kinds: labels, and i0.zip" in capsys.readouterr().err


def test_a_folder_of_results_is_refused(found, capsys):
    shutil.copytree(found / "out", found / "results")
    assert run(found, "again", "--measure-only", str(found / "results")) == 1
    assert "name the folder of one format, such as its folder labels" in capsys.readouterr().err


def test_a_file_of_one_image_is_refused(found, capsys):
    file = found / "out" / "labels" / "i0.tif"
    assert run(found, "again", "--measure-only", str(file)) == 2
    assert "expected the folder of this file, or a COCO JSON file" in capsys.readouterr().err


def test_remedies_are_no_options_of_other_commands(found, capsys):
    (found / "corrected").mkdir()
    mask = np.zeros((96, 128), np.uint8)
    mask[::16, ::16] = 255
    for name in ("i0", "i1"):
        cv2.imwrite(str(found / "corrected" / f"{name}.png"), mask)
    assert run(found, "again", "--measure-only", str(found / "corrected")) == 1
    printed = capsys.readouterr().err
    remedy = "expected 0 and another number for each nucleus (docs/own-data.md describes the files)"
    assert f"the value 255 in 48 separate regions; {remedy}" in printed
    assert "--" not in printed


def test_archives_without_nuclei(found):
    cv2.imwrite(str(found / "in" / "i1.png"), np.zeros((96, 128), np.uint8))
    assert run(found, "out", "--diameter", "20", "--format", "rois") == 0
    assert run(found, "again", "--measure-only", str(found / "out" / "rois")) == 0
    images = pd.read_csv(found / "again" / "images.csv")
    assert images["nuclei"].tolist() == [images["nuclei"][0], 0]


def test_forms_of_accents_are_the_same(found):
    for folder, form in ((found / "in", "NFD"), (found / "out" / "labels", "NFC")):
        (file,) = folder.glob("i1.*")
        file.rename(folder / (unicodedata.normalize(form, "Häuser") + file.suffix))
    shutil.copytree(found / "out" / "labels", found / "corrected")
    assert run(found, "again", "--measure-only", str(found / "corrected")) == 0


def test_the_smaller_outline_gets_shared_pixels():
    large, small = Crop(20, 20, np.ones((20, 20), bool)), Crop(25, 25, np.ones((10, 10), bool))
    for crops in ([large, small], [small, large]):
        visible = visible_parts(crops, (50, 60))
        assert sorted(part.area for part in visible) == [100, 300]
        assert [part.x for part in visible] == [crop.x for crop in crops]
    assert [part.area for part in visible_parts([small, small], (50, 60))] == [100]
    assert visible_parts([], (50, 60)) == []


def test_covered_outlines_are_reported(found, caplog):
    shutil.copytree(found / "out" / "geojson", found / "corrected")
    path = found / "corrected" / "i0.geojson"
    content = json.loads(path.read_text())
    path.write_text(json.dumps({**content, "features": 2 * content["features"]}))
    assert run(found, "again", "--measure-only", str(found / "corrected")) == 0
    count = len(content["features"])
    assert f"i0.png: {count} outlines that others cover were left out" in caplog.text
    assert pd.read_csv(found / "again" / "images.csv")["nuclei"][0] == count


def test_stacks_are_refused(found, capsys):
    shutil.rmtree(found / "in")
    (found / "in").mkdir()
    stack = np.zeros((5, 96, 128), np.uint8)
    tifffile.imwrite(found / "in" / "i0.tif", stack, metadata={"axes": "ZYX"})
    shutil.copytree(found / "out" / "labels", found / "corrected")
    assert run(found, "again", "--measure-only", str(found / "corrected")) == 1
    assert "--measure-only is for 2-D images" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("output", "options", "message"),
    [
        ("out", [], "in the output folder"),
        ("again", ["--diameter", "20"], "--diameter has no effect"),
        ("again", ["--model", "light"], "--model has no effect"),
        ("again", ["--input", "in/i0.png", "out/labels/i0.tif"], "images of one folder"),
        ("again", ["--measure-only", "nothing"], "nothing"),
    ],
)
def test_options_that_do_not_fit(found, output, options, message, capsys, monkeypatch):
    monkeypatch.chdir(found)
    options = ["--measure-only", str(found / "out" / "labels"), *options]
    assert run(found, output, *options) == 2
    assert message in capsys.readouterr().err
