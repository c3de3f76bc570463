"""Charts as SVG text to embed in a page, drawn by matplotlib without its global state.

Each entrant has a colour and a marker of its own. The colours are Okabe and Ito's palette, which
colour-blind readers can tell apart.
"""

import io
import math
import re
import warnings
from collections.abc import Iterable, Mapping, Sequence
from html import escape

import matplotlib.style
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from dsb2018.io.names import printable
from dsb2018.report.bootstrap import Interval

COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#7F7F7F")
MARKERS, SIGNS = "os^DvP", "●■▲◆▼✚"  # the same shapes for matplotlib and for the legend
TICKS = (1, 3, 10, 30, 100, 300, 1000, 3000, 10000)
LOG_PLUS_1 = np.log1p, np.expm1  # a logarithmic scale on which 0 has a place, and back
WIDTH, HEIGHT = 460.8, 273.6  # of the view box
MISSING = Interval(math.nan, math.nan, math.nan)
INK = "#010203"  # stands in for `currentColor`, which matplotlib does not know
STYLE = {
    "axes.edgecolor": INK,
    "axes.grid": True,
    "axes.labelcolor": INK,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "font.sans-serif": "DejaVu Sans",
    "grid.alpha": 0.2,
    "grid.color": INK,
    "svg.fonttype": "none",
    "svg.hashsalt": "dsb2018",
    "text.parse_math": False,
    "xtick.color": INK,
    "ytick.color": INK,
}
styled = matplotlib.style.context(["default", STYLE])  # "default" overrules a user's matplotlibrc


def legend(names: Iterable[str]) -> str:
    """HTML: the marker of each entrant and its name."""
    items = (
        f'<li><span style="color:{_look(index)["color"]}" aria-hidden="true">'
        f"{SIGNS[index % len(SIGNS)]}</span>{escape(name)}</li>"
        for index, name in enumerate(names)
    )
    return f'<ul class="legend">{"".join(items)}</ul>'


@styled
def line_chart(
    series: Mapping[str, Sequence[tuple[float, Interval]]], title: str, x_title: str, y_title: str
) -> str:
    """Draws percentages as one line per entrant, with the interval as a faint band.

    Args:
        series: by entrant the points: x, and a score in percent.
        title: for screen readers.
        x_title, y_title: of the axes.
    """
    axes = _axes(x_title, y_title, ylim=(0, 100))
    for index, points in enumerate(series.values()):
        places = [x for x, _ in points]
        value, low, high = _columns(score for _, score in points)
        axes.fill_between(places, low, high, color=_look(index)["color"], alpha=0.12, linewidth=0)
        axes.plot(places, value, **_look(index))
    axes.set_xticks(sorted({x for points in series.values() for x, _ in points}))
    return _to_svg(axes, title)


@styled
def count_chart(series: Mapping[str, Sequence[tuple[int, int]]], title: str) -> str:
    """Draws found over true nuclei, one marker per image; both are equal on the dashed line.

    Args:
        series: by entrant, true and found numbers of each image.
        title: for screen readers.
    """
    end = 1.1 * max([10, *(n for pairs in series.values() for pair in pairs for n in pair)])
    axes = _axes("true nuclei", "found nuclei")
    axes.set_xscale("function", functions=LOG_PLUS_1)
    axes.set_yscale("function", functions=LOG_PLUS_1)
    ticks = [n for n in (0, *TICKS) if n <= end]
    axes.set(xlim=(0, end), ylim=(0, end), xticks=ticks, yticks=ticks)
    axes.plot([0, end], [0, end], color=INK, linestyle="--", linewidth=1)
    for index, pairs in enumerate(series.values()):
        axes.plot(*np.reshape(pairs, (-1, 2)).T, **_look(index), linestyle="none", alpha=0.6)
    return _to_svg(axes, title)


@styled
def group_chart(groups: Mapping[str, Sequence[Interval | None]], title: str, y_title: str) -> str:
    """Draws scores with their intervals, side by side in each group.

    Args:
        groups: by name, a score of each entrant, None where there is none.
        title: for screen readers.
        y_title: of the axis.
    """
    axes = _axes("", y_title, ylim=(0, 100), xlim=(-0.5, len(groups) - 0.5))
    axes.set_xticks(range(len(groups)), [printable(name) for name in groups])
    entrants = list(zip(*groups.values(), strict=True))
    for index, scores in enumerate(entrants):
        places = np.arange(len(groups)) + 0.7 * ((index + 0.5) / len(entrants) - 0.5)
        value, low, high = _columns(MISSING if score is None else score for score in scores)
        axes.vlines(places, low, high, color=_look(index)["color"])
        axes.plot(places, value, **_look(index), linestyle="none")
    return _to_svg(axes, title)


@styled
def histogram_chart(
    series: Mapping[str, Sequence[float]], title: str, x_title: str, bins: int = 24
) -> str:
    """Draws the percentage of values in each bin, one line per series, on a logarithmic axis.

    Args:
        series: by name, numbers of 0 or more; below 1 they count as 1.
        title: for screen readers.
        x_title: of the axis.
        bins: number of them.
    """
    groups = [np.maximum(1, np.asarray(values, float)) for values in series.values()]
    edges = np.geomspace(1, 1.01 * max(values.max(initial=10) for values in groups), bins + 1)
    axes = _axes(x_title, "percent", xscale="log")
    for index, values in enumerate(groups):
        shares = 100 * np.histogram(values, edges)[0] / max(1, values.size)
        axes.plot(np.sqrt(edges[:-1] * edges[1:]), shares, **_look(index))
    ticks = [n for n in TICKS if n <= edges[-1]]
    axes.set_xticks(ticks, ticks)
    axes.minorticks_off()
    axes.set_ylim(bottom=0)
    return _to_svg(axes, title)


def _look(index: int) -> dict[str, str | bool]:
    """Colour and marker of an entrant, by its place; markers may stick out of the axes."""
    color, marker = COLORS[index % len(COLORS)], MARKERS[index % len(MARKERS)]
    return {"color": color, "marker": marker, "clip_on": False}


def _columns(scores: Iterable[Interval]) -> np.ndarray:
    """(3, N): values, lower and upper bounds; matplotlib leaves out what is NaN."""
    return np.reshape(list(scores), (-1, 3)).T


def _axes(x_title: str, y_title: str, **settings: object) -> Axes:
    axes = Figure((WIDTH / 72, HEIGHT / 72)).add_axes((0.12, 0.16, 0.85, 0.81))
    axes.set(xlabel=x_title, ylabel=y_title, **settings)
    return axes


def _to_svg(axes: Axes, title: str) -> str:
    """An `<svg>` element that takes the text colour of the page around it."""
    file = io.StringIO()
    nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
    with warnings.catch_warnings():
        # The browser draws the text, with fonts that have more letters than matplotlib's.
        warnings.filterwarnings("ignore", "Glyph .* missing")
        axes.figure.savefig(file, format="svg", transparent=True, metadata=nothing)
    drawing = file.getvalue()
    drawing = re.sub(r'<g id="[^"]*">', "<g>", drawing[drawing.index("<g ") :])
    drawing = drawing.replace("xlink:href", "href").replace(INK, "currentColor")
    head = f'class="chart" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(title)}"'
    return f"<svg {head}>{drawing}"
