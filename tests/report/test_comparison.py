import csv
import io
import json
import math
from pathlib import Path

import numpy as np
import pytest

from dsb2018.pages.interval import Interval
from dsb2018.report.comparison import COMPARED, EntrantScores, differences, warn_of_seen
from dsb2018.report.quoted import QUOTED, quoted_beside
from dsb2018.report.result_tables import (
    COLUMNS,
    markdown_table,
    to_csv,
    to_json,
    to_markdown,
    with_interval,
)


def entry(name, dataset="dsb2018_val", shift=0.0, seed=0, cost=None, seen=0):
    """Returns scores of 50 + shift, with random bootstrap samples around this value."""
    rng = np.random.default_rng(seed)
    metrics = [*COLUMNS, "sem_seg/IoU/histology", "nuclei/mAP/histology"]
    samples = {metric: (50 + shift + rng.normal(size=100)).astype(np.float32) for metric in metrics}
    scores = {metric: Interval(50 + shift, 48 + shift, 52 + shift) for metric in metrics}
    scores["sem_seg/IoU/brightfield"] = Interval(math.nan, math.nan, math.nan)
    modalities = {"histology": 3, "brightfield": 1}
    return EntrantScores(name, dataset, 4, modalities, seen, scores, cost or {}, samples, Path("x"))


def test_differences_are_paired_and_within_a_dataset():
    first, same, better = entry("a"), entry("b"), entry("c", shift=5)
    results = differences([first, same, better, entry("a", "dsb2018_train")])
    assert {(d.first, d.second) for d in results} == {("a", "b"), ("a", "c"), ("b", "c")}
    assert len(results) == 3 * len(COMPARED)
    equal = next(d for d in results if (d.first, d.second) == ("a", "b"))
    assert equal.points == (0, 0, 0)  # computed on paired draws
    assert not equal.is_clear
    worse = next(d for d in results if (d.first, d.second) == ("a", "c"))
    assert worse.points == pytest.approx((-5, -5, -5), abs=1e-4)
    assert worse.is_clear


def test_json_and_csv_have_the_same_scores():
    entries = [entry("a", cost={"parameters": 5}), entry("b", shift=1.5)]
    content = json.loads(to_json(entries, differences(entries)))
    assert [record["name"] for record in content["entries"]] == ["a", "b"]
    assert content["entries"][0]["cost"] == {"parameters": 5}
    assert len(content["differences"]) == len(COMPARED)
    assert len(content["quoted"]) == len(QUOTED)
    rows = list(csv.DictReader(io.StringIO(to_csv(entries))))
    for row in rows:
        by_name = {record["name"]: record for record in content["entries"]}
        name = "/".join(filter(None, (row["task"], row["metric"], row["modality"])))
        expected = by_name[row["name"]]["scores"][name]
        for key in ("value", "low", "high"):
            assert (float(row[key]) if row[key] else None) == expected[key]
    assert sum(row["modality"] == "brightfield" for row in rows) == 2


def cells(line):
    """Returns the cells of a row of a Markdown table, without padding."""
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_markdown_tables():
    trained = entry("a", "dsb2018_train", shift=20)
    entries = [entry("a", cost={"seconds_per_image": 0.5, "peak_memory": 2**30}), trained]
    entries.insert(1, entry("b", shift=-9))
    text = to_markdown(entries, differences(entries))
    lines = text.splitlines()
    rows = [cells(line) for line in lines]
    row = next(row for row in rows if row[:2] == ["a", "dsb2018_val"])
    assert row[2:5] == ["70.0", "50.0 [48.0, 52.0]", "50.0 [48.0, 52.0]"]
    row = next(row for row in rows if row[:2] == ["b", "dsb2018_val"])
    assert row[2] == "–"  # no training accuracy
    assert "## dsb2018_val: 4 images (3 histology, 1 brightfield)" in lines
    assert ["a", "–", "0.500 s", "1.00 GiB"] in rows
    assert any(row[:2] == ["a", "b"] and row[2].startswith("**+9.0 [") for row in rows)
    for block in text.split("\n\n"):  # all rows of a table have the same number of cells
        if block.startswith("|"):
            assert len({line.count("|") for line in block.splitlines()}) == 1


def test_published_results_next_to_real_data():
    text = to_markdown([entry("a")], [])
    lines = text.splitlines()
    quoted = [cells(line) for line in lines if "quoted*" in line]
    assert len(quoted) == 4  # results of the paper
    assert quoted[-1][3:5] == ["99.2", "88.0"]
    published = [cells(line) for line in lines[lines.index("## Published results") :]]
    for result in QUOTED:
        row = next(row for row in published if row[:2] == [result.name, result.images])
        assert row[-1] == result.source
        assert {f"{score:.1f}" for score in result.scores.values()} <= set(row)
    assert "Z. Wang, Y. Song" in text


@pytest.mark.parametrize("dataset", ["dsb2018_sample_val", "dsb2018_mine", "other"])
def test_no_published_results_next_to_other_images(dataset):
    entries = [entry("a", dataset)]
    text = to_markdown(entries, [])
    assert "quoted" not in text
    assert "Published results" not in text
    assert not [result.name for result in QUOTED if result.name in text]
    assert len(json.loads(to_json(entries, []))["quoted"]) == len(QUOTED)


@pytest.mark.parametrize(
    "names", [["dsb2018_test"], ["other", "dsb2018_stardist_train"], ["dsb2018_stardist_test"]]
)
def test_one_real_dataset_is_enough_to_quote(names):
    assert quoted_beside(names) == QUOTED


def test_cells_of_tables_are_not_reformatted():
    row = ["007", "1e3", "1.50", "", "a\nb"]
    heads = ["1", "", "c", "d", "e"]
    table = markdown_table(heads, [row]).splitlines()
    assert [cells(line) for line in (table[0], table[2])] == [heads, [*row[:-1], "a b"]]
    assert set(table[1]) == {"|", "-"}
    assert len(table) == 3


@pytest.mark.parametrize("name", ["\x01", "\x1b[31mred", "a\x00b"])
def test_control_characters_do_not_change_the_rows(name):
    table = markdown_table(["", "b"], [[name, "x"], ["y", name]]).splitlines()
    assert len(table) == 4
    assert cells(table[2])[1] == "x"
    assert cells(table[3])[0] == "y"


def test_warning_about_images_seen_in_training():
    assert warn_of_seen([entry("a"), entry("b")]) == ""
    entries = [entry("a"), entry("b", seen=3)]
    warning = "Warning: b was trained on 3 of these 4 images."
    assert warn_of_seen(entries) == warning
    assert f"**{warning}**" in to_markdown(entries, []).splitlines()
    assert json.loads(to_json(entries, []))["entries"][1]["seen"] == 3


@pytest.mark.parametrize(
    ("score", "text"),
    [
        (None, "–"),
        (Interval(math.nan, math.nan, math.nan), "–"),
        (Interval(50.0, math.nan, math.nan), "50.0"),
        (Interval(84.84, 82.06, 87.0), "84.8 [82.1, 87.0]"),
    ],
)
def test_scores_with_interval_as_text(score, text):
    assert with_interval(score) == text
