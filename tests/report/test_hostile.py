"""Hostile names from a dataset's JSON and the command line, in all files of a comparison."""

import csv
import html.parser
import json

import numpy as np
import pytest
from detectron2.data import DatasetCatalog, MetadataCatalog

from dsb2018.commands.benchmark import benchmark, benchmark_parser
from dsb2018.data import register_dsb2018, unregister_dsb2018
from dsb2018.evaluation.image_writers import LabelWriter, OverlayWriter
from dsb2018.io.csv_text import read_rows
from dsb2018.io.names import image_file_name
from dsb2018.report.entrants import labels_to_prediction
from dsb2018.report.result_tables import escape_markdown, markdown_table
from dsb2018.structures.ground_truth import read_label_layers
from tests.hostile import HOSTILE_NAMES

DATASET = "dsb2018_hostile"


@pytest.fixture(scope="module")
def root(sample_root, tmp_path_factory):
    """The synthetic dataset, with hostile names and modalities of the images."""
    root = tmp_path_factory.mktemp("hostile") / "root"
    (root / "annotations").mkdir(parents=True)
    coco = json.loads((sample_root / "annotations" / "dsb2018_sample_val.json").read_text())
    coco["info"]["image_root"] = str(sample_root / coco["info"]["image_root"])
    (root / "labels").symlink_to(sample_root / "labels")
    for image, name in zip(coco["images"], HOSTILE_NAMES, strict=True):
        image["dsb_id"], image["modality"] = name, name
    (root / "annotations" / f"{DATASET}.json").write_text(json.dumps(coco))
    return root


@pytest.fixture
def registered(root):
    unregister_dsb2018()
    try:
        register_dsb2018(root)
        yield root
    finally:
        unregister_dsb2018()


def all_files(folder):
    """Returns the relative paths of all files and folders in a folder."""
    return {path.relative_to(folder) for path in folder.rglob("*")}


class Reader(html.parser.HTMLParser):
    """Collects the scripts and the tags of a page."""

    def __init__(self):
        super().__init__()
        self.tags, self.scripts, self._in_script = [], [], False

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self._in_script = tag == "script"
        assert not [name for name, _ in attrs if name.startswith("on")]

    def handle_endtag(self, tag):
        self._in_script = False

    def handle_data(self, data):
        if self._in_script:
            self.scripts.append(data)


def test_comparison_of_hostile_names(registered, tmp_path):
    output = tmp_path / "a" / "b" / "out"
    labels = tmp_path / "labels"
    labels.mkdir()
    for item in DatasetCatalog.get(DATASET):
        np.save(labels / f"{image_file_name(item)}.npy", read_label_layers(item)[0])
    before = all_files(tmp_path)
    names = ["..", "=1+1", "</script><script>alert(3)</script>"]
    arguments = ["--output", str(output), "--data", str(registered), "--datasets", DATASET]
    predictions = [f"{name}={labels}" for name in names if "=" not in name]
    args = benchmark_parser().parse_args([*arguments, "--predictions", *predictions])
    args.predictions.append(("=1+1", str(labels)))
    benchmark(args)
    new = all_files(tmp_path) - before
    assert all(path.is_relative_to("a") for path in new)
    assert {path.name for path in (tmp_path / "a").iterdir()} == {"b"}
    assert {path.name for path in (tmp_path / "a" / "b").iterdir()} == {"out"}

    page = Reader()
    page.feed((output / "report.html").read_text())
    assert len(page.scripts) == 2  # the data and page.js
    (data,) = json.loads(page.scripts[0])
    assert sorted(data["names"]) == sorted(names)
    assert {image["name"] for image in data["images"]} == set(HOSTILE_NAMES)

    text = (output / "results.md").read_text()
    assert "<script" not in text.replace("\\<", "")
    for block in text.split("\n\n"):
        if block.startswith("|"):  # no name added a column
            assert len({line.replace("\\|", "").count("|") for line in block.splitlines()}) == 1
    with open(output / "results.csv", newline="") as file:
        assert not [row for row in csv.reader(file) if row[0].startswith(tuple("=+@"))]
    assert {row["name"] for row in read_rows(output / "results.csv")} == set(names)


@pytest.mark.parametrize("writer", [LabelWriter, OverlayWriter])
def test_evaluators_write_only_into_their_folder(registered, tmp_path, writer):
    items = DatasetCatalog.get(DATASET)
    folder = tmp_path / "a" / "b" / "files"
    evaluator = writer(folder, {item["image_id"] for item in items}, 0.0)
    for item in items:
        output = labels_to_prediction(read_label_layers(item)[0].astype(np.int32))
        evaluator.process([item], [output])
    assert len(list(folder.iterdir())) == len(items)
    assert {path.name for path in tmp_path.rglob("*") if path.is_file()} == {
        f"{image_file_name(item)}.png" for item in items
    }


@pytest.mark.parametrize("key", ["file_name", "label_file"])
def test_files_outside_the_dataset_are_an_error(registered, key):
    path = registered / "annotations" / f"{DATASET}.json"
    before = path.read_text()
    coco = json.loads(before)
    coco["images"][0][key] = "../../../etc/passwd"
    path.write_text(json.dumps(coco))
    try:
        with pytest.raises(ValueError, match=rf"{key} .* expected a path inside its folder"):
            DatasetCatalog.get(DATASET)
    finally:
        path.write_text(before)
    assert MetadataCatalog.get(DATASET).json_file == str(path.resolve())


@pytest.mark.parametrize("name", HOSTILE_NAMES)
def test_markdown_of_a_hostile_name(name):
    table = markdown_table(["name"], [[escape_markdown(name)]])
    assert table.splitlines()[-1].replace("\\|", "").count("|") == 2
    assert escape_markdown("unet/unet_light") == "unet/unet_light"
    assert "\n" not in escape_markdown("a\nb")
