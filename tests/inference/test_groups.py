"""Tests of groups of images. Their numbers are compared with those of pandas."""

import csv

import cv2
import numpy as np
import pandas as pd
import pytest

from dsb2018.commands.predict import main
from dsb2018.errors import UsageError
from dsb2018.inference.groups import Grouping, add_fields
from tests.inference.drawing import micrograph

PATTERN = r"(?P<drug>[a-z]+)_(?P<well>[A-H]\d+)"
NAMES = ("dmso_A1", "dmso_A2", "taxol_A1", "other")


@pytest.mark.parametrize(
    ("text", "path", "fields"),
    [
        ("folder", "data/plate 1/a.tif", {"folder": "plate 1"}),
        ("folder", "a.tif", {"folder": ""}),
        ("folder", "data/plate.ome.zarr/B/3/0", {"folder": "data"}),
        (PATTERN, "x/dmso_B12.tif", {"drug": "dmso", "well": "B12"}),
        (PATTERN, "x/none.tif", {"drug": "", "well": ""}),
        (r"(?P<a>x)|y", "y", {"a": ""}),
    ],
)
def test_fields(text, path, fields):
    assert Grouping(text).fields(path) == fields


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("files", "named fields"),
        ("(a)_(b)", "named fields"),
        ("(?P<a>", "not a regular expression"),
        ("(?P<image>.*)", "have a column 'image'"),
    ],
)
def test_unusable_groups(text, message):
    with pytest.raises(ValueError, match=message):
        Grouping(text)
    with pytest.raises(SystemExit, match="2"):
        main(["--input", "a", "--output", "b", "--group", text])


def test_fields_are_not_columns():
    row = {"image": "a", "file": "a", "mean_intensity": 1}
    with pytest.raises(UsageError, match="a column 'mean_intensity'"):
        add_fields(row, Grouping("(?P<mean_intensity>a)"))


@pytest.fixture(scope="module")
def output(tmp_path_factory):
    """Results of four images of three groups, one of them without a name."""
    folder = tmp_path_factory.mktemp("groups")
    (folder / "in").mkdir()
    for seed, name in enumerate(NAMES):
        cv2.imwrite(str(folder / "in" / f"{name}.png"), micrograph((96, 128), seed)[0])
    cv2.imwrite(str(folder / "in" / "other_2.png"), np.zeros((96, 128), np.uint8))  # no nuclei
    predict(folder, "--group", PATTERN)
    return folder / "out"


def predict(folder, *options):
    arguments = ["--input", str(folder / "in"), "--output", str(folder / "out"), "--diameter", "20"]
    assert main([*arguments, "--format", "page", "--pixel-size", "0.5", *options]) == 0


def test_groups_are_summarized(output):
    groups = pd.read_csv(output / "groups.csv", keep_default_na=False)
    images = pd.read_csv(output / "images.csv", keep_default_na=False)
    nuclei = pd.read_csv(output / "nuclei.csv", keep_default_na=False)
    assert groups["drug"].tolist() == ["", "dmso", "dmso", "taxol"]
    assert groups["well"].tolist() == ["", "A1", "A2", "A1"]
    assert groups["images"].tolist() == [2, 1, 1, 1]
    for _, group in groups.iterrows():
        own_images = images[(images["drug"] == group["drug"]) & (images["well"] == group["well"])]
        own = nuclei[(nuclei["drug"] == group["drug"]) & (nuclei["well"] == group["well"])]
        assert group["nuclei"] == len(own) > 0
        for suffix, share in (("q25", 0.25), ("median", 0.5), ("q75", 0.75)):
            for name in ("area", "area_um2", "intensity_mean", "eccentricity"):
                expected = own[name].astype(float).quantile(share)
                assert float(group[f"{name}_{suffix}"]) == pytest.approx(expected, rel=1e-3)
            expected = own_images["nuclei"].quantile(share)
            assert float(group[f"nuclei_per_image_{suffix}"]) == pytest.approx(expected)
            expected = own_images["nuclei_per_mm2"].quantile(share)
            assert float(group[f"nuclei_per_mm2_{suffix}"]) == pytest.approx(expected)


def test_the_page_has_charts_of_groups(output):
    page = (output / "index.html").read_text()
    assert "Density, by group" in page
    assert "dmso A1" in page
    assert "Area in µm², by group" in page
    assert "Area, by group" not in page  # the area in µm² is enough


def test_other_groups_need_no_new_prediction(output):
    record = output / ".done" / NAMES[0] / "record.json"
    before = record.stat().st_mtime_ns
    predict(output.parent, "--group", "folder")
    assert record.stat().st_mtime_ns == before
    with open(output / "groups.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["folder"], row["images"]) for row in rows] == [("in", "5")]


def test_a_pattern_without_matches_is_reported(output, caplog):
    predict(output.parent, "--group", "(?P<drug>none)_")
    assert "--group: the pattern matches none of the images" in caplog.text


def test_groups_of_an_earlier_run_are_deleted(output):
    predict(output.parent)
    assert not list(output.glob("groups.*"))
