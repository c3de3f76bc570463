import csv
import io
import json
import math
from pathlib import Path

import numpy as np
import pytest

from dsb2018.report.bootstrap import Interval
from dsb2018.report.comparison import COMPARED, EntrantScores, differences, warn_of_seen
from dsb2018.report.quoted import QUOTED
from dsb2018.report.tables import COLUMNS, to_csv, to_json, to_markdown, with_interval


def entry(name, dataset="dsb2018_val", shift=0.0, seed=0, cost=None, seen=0):
    """Scores of 50 + shift whose draws lie around it."""
    rng = np.random.default_rng(seed)
    metrics = [*COLUMNS, "sem_seg/IoU/histology", "nuclei/mAP/histology"]
    samples = {metric: (50 + shift + rng.normal(size=100)).astype(np.float32) for metric in metrics}
    scores = {metric: Interval(50 + shift, 48 + shift, 52 + shift) for metric in metrics}
    scores["sem_seg/IoU/brightfield"] = Interval(math.nan, math.nan, math.nan)
    modalities = {"histology": 3, "brightfield": 1}
    return EntrantScores(name, dataset, 4, modalities, seen, scores, cost or {}, samples, Path("x"))


def test_differences_are_paired_and_within_a_dataset():
    first, same, better = entry("a"), entry("b"), entry("c", shift=5)
    found = differences([first, same, better, entry("a", "dsb2018_train")])
    assert {(each.first, each.second) for each in found} == {("a", "b"), ("a", "c"), ("b", "c")}
    assert len(found) == 3 * len(COMPARED)
    equal = next(each for each in found if (each.first, each.second) == ("a", "b"))
    assert equal.points == (0, 0, 0)  # draw by draw, not of two separate intervals
    assert not equal.is_clear
    worse = next(each for each in found if (each.first, each.second) == ("a", "c"))
    assert worse.points == pytest.approx((-5, -5, -5), abs=1e-4)
    assert worse.is_clear


def test_json_and_csv_say_the_same():
    entries = [entry("a", cost={"parameters": 5}), entry("b", shift=1.5)]
    content = json.loads(to_json(entries, differences(entries)))
    assert [each["name"] for each in content["entries"]] == ["a", "b"]
    assert content["entries"][0]["cost"] == {"parameters": 5}
    assert len(content["differences"]) == len(COMPARED)
    assert len(content["quoted"]) == len(QUOTED)
    rows = list(csv.DictReader(io.StringIO(to_csv(entries))))
    for row in rows:
        by_name = {each["name"]: each for each in content["entries"]}
        name = "/".join(filter(None, (row["task"], row["metric"], row["modality"])))
        expected = by_name[row["name"]]["scores"][name]
        for key in ("value", "low", "high"):
            assert (float(row[key]) if row[key] else None) == expected[key]
    assert sum(row["modality"] == "brightfield" for row in rows) == 2


def test_tables_to_read():
    trained = entry("a", "dsb2018_train", shift=20)
    entries = [entry("a", cost={"seconds_per_image": 0.5, "peak_memory": 2**30}), trained]
    entries.insert(1, entry("b", shift=-9))
    text = to_markdown(entries, differences(entries))
    lines = text.splitlines()
    row = next(line for line in lines if line.startswith("| a | dsb2018_val"))
    assert row.split(" | ")[2:5] == ["70.0", "50.0 [48.0, 52.0]", "50.0 [48.0, 52.0]"]
    row = next(line for line in lines if line.startswith("| b | dsb2018_val"))
    assert row.split(" | ")[2] == "–"  # no training accuracy was measured
    quoted = [line for line in lines if "quoted*" in line]
    assert len(quoted) == 4  # the paper's
    assert "| 99.2 | 88.0 |" in quoted[-1]
    published = lines[lines.index("## Published elsewhere") :]
    for each in QUOTED:
        row = next(line for line in published if line.startswith(f"| {each.name} | {each.images}"))
        assert row.endswith(f"| {each.source} |")
        assert all(f"| {score:.1f} |" in row for score in each.scores.values())
    assert "## dsb2018_val: 4 images (3 histology, 1 brightfield)" in lines
    assert "| a | – | 0.500 s | 1.00 GiB |" in lines
    assert any(line.startswith("| a | b | **+9.0 [") for line in lines)
    for block in text.split("\n\n"):  # every row of a table has as many cells as its head
        if block.startswith("|"):
            assert len({line.count("|") for line in block.splitlines()}) == 1


def test_who_has_seen_the_images_is_said():
    assert warn_of_seen([entry("a"), entry("b")]) == ""
    entries = [entry("a"), entry("b", seen=3)]
    warning = "Not a test for all: of these 4 images b was trained on 3."
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
def test_scores_as_text(score, text):
    assert with_interval(score) == text
