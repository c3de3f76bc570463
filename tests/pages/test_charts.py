import math
import re
from xml.etree import ElementTree

import matplotlib
import numpy as np
import pytest

from dsb2018.pages.charts import (
    COLORS,
    bar_chart,
    count_chart,
    group_chart,
    histogram_chart,
    legend,
    line_chart,
)
from dsb2018.pages.interval import Interval

MISSING = Interval(math.nan, math.nan, math.nan)
HOSTILE = "</text><script>alert(1)</script> $x_1$ & \"'"


def markers(chart, color):
    """Returns x and y of the markers of a color, in the order of the entrant's points."""
    return [(float(use.get("x")), float(use.get("y"))) for use in uses(chart, f"fill: {color}")]


def uses(chart, style):
    """Returns the markers of a style. Bands have the same color, but no stroke."""
    matching = (use for use in chart.iter("use") if style.lower() in use.get("style"))
    return [use for use in matching if "stroke: #" in use.get("style")]


def texts(chart):
    """Returns all texts of a chart."""
    return {text.text for text in chart.iter("text")}


def test_lines_omit_missing_scores():
    points = [(0.5, Interval(80, 70, 90)), (0.7, Interval(60, 50, 65)), (0.9, MISSING)]
    chart = ElementTree.fromstring(line_chart({"a": points, "b": points[:2]}, "t", "x", "y"))
    (x1, y1), (x2, y2) = markers(chart, COLORS[0])
    assert x1 < x2
    assert y1 < y2  # a better score is higher up
    assert markers(chart, COLORS[1]) == [(x1, y1), (x2, y2)]
    assert {"0.5", "0.7", "0.9", "x", "y"} <= texts(chart)


def test_bands_show_the_intervals():
    points = [(0.5, Interval(80, 60, 100)), (0.7, Interval(40, 0, 80))]
    chart = ElementTree.fromstring(line_chart({"a": points}, "t", "x", "y"))
    (use,) = (use for use in chart.iter("use") if "fill-opacity" in use.get("style"))
    band = next(path for path in chart.iter("path") if path.get("id") == use.get("href")[1:])
    numbers = [float(part) for part in band.get("d").split() if part not in "MLz"]
    heights = [y + float(use.get("y")) for y in numbers[1::2]]
    (_, y80), (_, y40) = markers(chart, COLORS[0])
    one_percent = (y40 - y80) / 40
    assert min(heights) == pytest.approx(y80 - 20 * one_percent)
    assert max(heights) == pytest.approx(y40 + 40 * one_percent)


def test_entrants_have_different_colors_and_markers():
    series = {name: [(0.5, Interval(80, 70, 90))] for name in "abcdef"}
    chart = ElementTree.fromstring(line_chart(series, "t", "x", "y"))
    shapes = set()
    for color in COLORS[:6]:
        (use,) = uses(chart, f"fill: {color}")
        (path,) = (path for path in chart.iter("path") if path.get("id") == use.get("href")[1:])
        shapes.add(path.get("d"))
    assert len(shapes) == 6


def test_equal_counts_are_on_the_dashed_line():
    chart = ElementTree.fromstring(count_chart({"a": [(0, 0), (7, 7), (120, 120)]}, "counts"))
    (line,) = (path for path in chart.iter("path") if "dasharray" in path.get("style", ""))
    x1, y1, x2, y2 = (float(part) for part in line.get("d").split() if part not in "ML")
    points = markers(chart, COLORS[0])
    assert len(points) == 3
    for x, y in points:
        assert y == pytest.approx(y1 + (x - x1) * (y2 - y1) / (x2 - x1), abs=0.01)
    assert {"0", "1", "100"} <= texts(chart)


def test_groups_omit_missing_scores():
    groups = {
        "histology": [Interval(50, 40, 60), None],
        "brightfield": [MISSING, Interval(9, 8, 9)],
    }
    chart = ElementTree.fromstring(group_chart(groups, "t", "mAP"))
    ((x1, y1),), ((x2, y2),) = markers(chart, COLORS[0]), markers(chart, COLORS[1])
    assert x1 < x2
    assert y1 < y2
    assert {"histology", "brightfield", "mAP"} <= texts(chart)


def test_group_names_are_escaped():
    assert HOSTILE in texts(ElementTree.fromstring(group_chart({HOSTILE: [MISSING]}, "t", "mAP")))


def test_histograms_show_percentages():
    chart = ElementTree.fromstring(histogram_chart({"a": [0, 1, 1, 50], "b": []}, "t", "x", bins=2))
    (_, left), (_, right) = markers(chart, COLORS[0])
    (_, zero), _ = markers(chart, COLORS[1])
    assert zero - left == pytest.approx(3 * (zero - right))  # 75 % and 25 %


def test_bars_have_the_height_of_their_counts():
    chart = ElementTree.fromstring(bar_chart([1, 0, 3], [4, 8, 16, 32], "t", ("x", "y")))
    (shape,) = [path for path in chart.iter("path") if COLORS[0].lower() in str(path.attrib)]
    points = np.array(re.findall(r"[ML] (\S+) (\S+)", shape.get("d")), float)
    heights = points[:, 1].max() - points[:, 1]
    assert {round(height / heights.max(), 3) for height in heights} == {0, 0.333, 1}
    assert {"x", "y"} <= texts(chart)


@pytest.mark.parametrize(
    "draw",
    [
        lambda name: line_chart({name: [(0.5, Interval(80, 70, 90))]}, name, name, name),
        lambda name: count_chart({name: [(1, 2)]}, name),
        lambda name: group_chart({name: [Interval(50, 40, 60)]}, name, name),
        lambda name: histogram_chart({name: [1, 2]}, name, name),
        lambda name: bar_chart([1, 2], [1, 2, 4], name, (name, name), is_logarithmic=True),
    ],
)
def test_charts_are_safe_accessible_and_reproducible(draw):
    text = draw(HOSTILE)
    chart = ElementTree.fromstring(text)
    assert not list(chart.iter("script"))
    assert (chart.get("role"), chart.get("aria-label")) == ("img", HOSTILE)
    assert not [label for label in texts(chart) if "script" in label and label != HOSTILE]
    assert "http" not in text
    assert "currentColor" in text
    # Black text would be invisible in dark mode.
    assert not {"#000000", "#010203"} & set(re.findall("#[0-9a-f]{6}", text))
    with matplotlib.rc_context({"font.size": 30, "svg.fonttype": "path"}):
        assert draw(HOSTILE) == text


def test_labels_with_characters_missing_in_the_font(recwarn):
    chart = ElementTree.fromstring(group_chart({"核\nb\udcff": [MISSING]}, "t", "mAP"))
    assert "核 b\N{REPLACEMENT CHARACTER}" in texts(chart)
    assert not recwarn.list


def test_names_in_the_legend_are_escaped():
    assert "<b>" not in legend(["a <b>"])
    assert "&lt;b&gt;" in legend(["a <b>"])
