"""Charts as SVG text to embed in a page, drawn by matplotlib without its global state.

Each entrant has its own color and marker. The colors are the Okabe-Ito palette, which color-blind
readers can tell apart.
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
from dsb2018.pages.interval import Interval

COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#7F7F7F")
MARKERS, LEGEND_MARKERS = "os^DvP", "●■▲◆▼✚"  # the same shapes in matplotlib and in HTML
TICKS = (1, 3, 10, 30, 100, 300, 1000, 3000, 10000)
POWERS_OF_2 = [2**n for n in range(16)]
LOG_PLUS_1 = np.log1p, np.expm1  # logarithmic scale that includes 0, and its inverse
WIDTH, HEIGHT = 460.8, 273.6  # of the SVG view box
ROOM_FOR_NAMES = (0.12, 0.3, 0.85, 0.67)  # of the axes above slanted names
MOST_LETTERS = 55  # of all names of groups that fit below the axis without slanting
MISSING = Interval(math.nan, math.nan, math.nan)
TEXT_COLOR = "#010203"  # replaced by `currentColor`, which matplotlib does not support
STYLE = {
    "axes.edgecolor": TEXT_COLOR,
    "axes.grid": True,
    "axes.labelcolor": TEXT_COLOR,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "font.sans-serif": "DejaVu Sans",
    "grid.alpha": 0.2,
    "grid.color": TEXT_COLOR,
    "svg.fonttype": "none",
    "svg.hashsalt": "dsb2018",
    "text.parse_math": False,
    "xtick.color": TEXT_COLOR,
    "ytick.color": TEXT_COLOR,
}
styled = matplotlib.style.context(["default", STYLE])  # "default" resets a user's matplotlibrc


def legend(names: Iterable[str]) -> str:
    """Returns an HTML list with the marker and the name of each entrant."""
    items = (
        f'<li><span style="color:{_line_style(index)["color"]}" aria-hidden="true">'
        f"{LEGEND_MARKERS[index % len(LEGEND_MARKERS)]}</span>{escape(name)}</li>"
        for index, name in enumerate(names)
    )
    return f'<ul class="legend">{"".join(items)}</ul>'


@styled
def line_chart(
    series: Mapping[str, Sequence[tuple[float, Interval]]], title: str, x_title: str, y_title: str
) -> str:
    """Draws scores as one line per entrant, with the intervals as a transparent band.

    Args:
        series: {entrant: points}; a point is x and a score in percent.
        title: title for screen readers.
        x_title, y_title: titles of the axes.
    """
    axes = _axes(x_title, y_title, ylim=(0, 100))
    for index, points in enumerate(series.values()):
        x_values = [x for x, _ in points]
        value, low, high = _to_array(score for _, score in points)
        style = _line_style(index)
        axes.fill_between(x_values, low, high, color=style["color"], alpha=0.12, linewidth=0)
        axes.plot(x_values, value, **style)
    axes.set_xticks(sorted({x for points in series.values() for x, _ in points}))
    return _to_svg(axes, title)


@styled
def count_chart(series: Mapping[str, Sequence[tuple[int, int]]], title: str) -> str:
    """Draws predicted against true numbers of nuclei, one marker per image, and a dashed line on
    which the numbers are equal.

    Args:
        series: {entrant: true and predicted number of each image}.
        title: title for screen readers.
    """
    end = 1.1 * max([10, *(n for pairs in series.values() for pair in pairs for n in pair)])
    axes = _axes("true nuclei", "predicted nuclei")
    axes.set_xscale("function", functions=LOG_PLUS_1)
    axes.set_yscale("function", functions=LOG_PLUS_1)
    ticks = [n for n in (0, *TICKS) if n <= end]
    axes.set(xlim=(0, end), ylim=(0, end), xticks=ticks, yticks=ticks)
    axes.plot([0, end], [0, end], color=TEXT_COLOR, linestyle="--", linewidth=1)
    for index, pairs in enumerate(series.values()):
        axes.plot(*np.reshape(pairs, (-1, 2)).T, **_line_style(index), linestyle="none", alpha=0.6)
    return _to_svg(axes, title)


@styled
def group_chart(
    groups: Mapping[str, Sequence[Interval | None]],
    title: str,
    y_title: str,
    largest: float | None = 100,
) -> str:
    """Draws values with their intervals, side by side in each group.

    Args:
        groups: {name of a group: value of each entrant, None if it has none}.
        title: title for screen readers.
        y_title: title of the y axis.
        largest: end of the y axis; None: that of the values.
    """
    axes = _axes("", y_title, xlim=(-0.5, len(groups) - 0.5))
    is_crowded = sum(map(len, groups)) > MOST_LETTERS
    rotation = {"rotation": 30, "ha": "right"} if is_crowded else {}
    axes.set_xticks(range(len(groups)), [printable(name) for name in groups], **rotation)
    entrants = list(zip(*groups.values(), strict=True))
    for index, scores in enumerate(entrants):
        x_values = np.arange(len(groups)) + 0.7 * ((index + 0.5) / len(entrants) - 0.5)
        value, low, high = _to_array(MISSING if score is None else score for score in scores)
        style = _line_style(index)
        axes.vlines(x_values, low, high, color=style["color"])
        axes.plot(x_values, value, **style, linestyle="none")
    axes.set_ylim(0, largest)
    if is_crowded:
        axes.set_position(ROOM_FOR_NAMES)
    return _to_svg(axes, title)


@styled
def histogram_chart(
    series: Mapping[str, Sequence[float]], title: str, x_title: str, bins: int = 24
) -> str:
    """Draws the percentage of values in each bin, one line per series, on a logarithmic axis.

    Args:
        series: {name: values}; values must be at least 0, and values below 1 are drawn as 1.
        title: title for screen readers.
        x_title: title of the x axis.
        bins: number of bins.
    """
    groups = [np.maximum(1, np.asarray(values, float)) for values in series.values()]
    edges = np.geomspace(1, 1.01 * max(values.max(initial=10) for values in groups), bins + 1)
    axes = _axes(x_title, "percent", xscale="log")
    for index, values in enumerate(groups):
        shares = 100 * np.histogram(values, edges)[0] / max(1, values.size)
        axes.plot(np.sqrt(edges[:-1] * edges[1:]), shares, **_line_style(index))
    ticks = [n for n in TICKS if n <= edges[-1]]
    axes.set_xticks(ticks, ticks)
    axes.minorticks_off()
    axes.set_ylim(bottom=0)
    return _to_svg(axes, title)


@styled
def bar_chart(
    counts: Sequence[int],
    edges: Sequence[float],
    title: str,
    axis_titles: tuple[str, str],
    *,
    is_logarithmic: bool = False,
) -> str:
    """Draws a histogram as bars.

    Args:
        counts: (N,) values in each bin.
        edges: (N + 1,) edges of the bins, ascending; above 0 for a logarithmic axis.
        title: title for screen readers.
        axis_titles: titles of the x and the y axis.
        is_logarithmic: whether the x axis is logarithmic.
    """
    axes = _axes(*axis_titles, xscale="log" if is_logarithmic else "linear")
    axes.stairs(counts, edges, fill=True, color=COLORS[0])
    if is_logarithmic:
        ticks = [n for n in POWERS_OF_2 if edges[0] <= n <= edges[-1]]
        axes.set_xticks(ticks, ticks)
        axes.minorticks_off()
    axes.set(xlim=(edges[0], edges[-1]), ylim=(0, 1.05 * max(1, *counts)))
    axes.yaxis.get_major_locator().set_params(integer=True)
    return _to_svg(axes, title)


def _line_style(index: int) -> dict[str, str | bool]:
    """Returns the color and the marker of an entrant. Markers are not clipped at the axes."""
    color, marker = COLORS[index % len(COLORS)], MARKERS[index % len(MARKERS)]
    return {"color": color, "marker": marker, "clip_on": False}


def _to_array(scores: Iterable[Interval]) -> np.ndarray:
    """Returns (3, N): values, lower and upper bounds. matplotlib does not draw NaN."""
    return np.reshape(list(scores), (-1, 3)).T


def _axes(x_title: str, y_title: str, **settings: object) -> Axes:
    axes = Figure((WIDTH / 72, HEIGHT / 72)).add_axes((0.12, 0.16, 0.85, 0.81))
    axes.set(xlabel=x_title, ylabel=y_title, **settings)
    return axes


def _to_svg(axes: Axes, title: str) -> str:
    """Returns an `<svg>` element that uses the text color of the page."""
    file = io.StringIO()
    no_metadata = dict.fromkeys(("Creator", "Date", "Format", "Type"))
    with warnings.catch_warnings():
        # The browser draws the text, with fonts that have more characters than matplotlib's.
        warnings.filterwarnings("ignore", "Glyph .* missing")
        axes.figure.savefig(file, format="svg", transparent=True, metadata=no_metadata)
    drawing = file.getvalue()
    drawing = re.sub(r'<g id="[^"]*">', "<g>", drawing[drawing.index("<g ") :])
    drawing = drawing.replace("xlink:href", "href").replace(TEXT_COLOR, "currentColor")
    head = f'class="chart" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(title)}"'
    return f"<svg {head}>{drawing}"
