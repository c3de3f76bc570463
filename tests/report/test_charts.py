import math
import re
from xml.etree import ElementTree

import pytest

from dsb2018.report.bootstrap import Interval
from dsb2018.report.charts import Axis, count_chart, group_chart, legend, line_chart

NOTHING = Interval(math.nan, math.nan, math.nan)


def test_axes():
    assert [Axis(0, 100, 300, 100)(value) for value in (0, 50, 100)] == [300, 200, 100]
    assert [Axis(1, 100, 0, 80, log=True)(value) for value in (1, 10, 100)] == [0, 40, 80]


def test_lines_have_their_points_and_bands():
    points = [(0.5, Interval(80, 70, 90)), (0.7, Interval(60, 50, 65)), (0.9, NOTHING)]
    chart = ElementTree.fromstring(line_chart({"a <b>": points, "c": points[:2]}, "t", "x", "y"))
    line = chart.find("polyline").get("points").split()
    assert len(line) == 2  # what is not known is left out
    heights = [float(point.split(",")[1]) for point in line]
    assert heights[0] < heights[1]  # a better score is higher up
    assert len(chart.find("polygon").get("points").split()) == 4
    assert len({each.get("stroke") for each in chart.findall("polyline")}) == 2


def test_equal_counts_lie_on_the_line():
    chart = ElementTree.fromstring(count_chart({"a": [(0, 0), (7, 7), (120, 120)]}, "counts"))
    line = next(each for each in chart.findall("line") if each.get("class") == "axis")
    x1, y1, x2, y2 = (float(line.get(name)) for name in ("x1", "y1", "x2", "y2"))
    for path in chart.iter("path"):
        x, y = map(float, re.findall(r"[\d.]+", path.get("transform")))
        assert y == pytest.approx(y1 + (x - x1) * (y2 - y1) / (x2 - x1), abs=0.3)


def test_groups_show_what_is_known():
    groups = {
        "histology": [Interval(50, 40, 60), None],
        "brightfield": [NOTHING, Interval(9, 8, 9)],
    }
    chart = ElementTree.fromstring(group_chart(groups, "t", "mAP"))
    assert len(chart.findall("path")) == 2
    assert {"histology", "brightfield", "mAP"} <= {each.text for each in chart.findall("text")}


def test_names_cannot_be_markup():
    assert "<b>" not in legend(["a <b>"])
    assert "&lt;b&gt;" in legend(["a <b>"])
