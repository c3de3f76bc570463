"""Charts as SVG text, to stand in a page. Entrants differ by colour and by shape.

Colours are of Okabe and Ito's palette, which the colour-blind can tell apart. Text and axes take
the colour of the page, by the classes `axis` and `grid`.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from html import escape

import numpy as np

from dsb2018.report.bootstrap import Interval

COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#7F7F7F")
SHAPES = (
    "M-4,0a4,4 0 1,0 8,0a4,4 0 1,0 -8,0",  # disc
    "M-4,-4H4V4H-4Z",  # square
    "M0,-5L5,4H-5Z",  # triangle
    "M0,-5.5L5.5,0L0,5.5L-5.5,0Z",  # diamond
    "M0,5L5,-4H-5Z",  # triangle on its tip
    "M-1.6,-5H1.6V-1.6H5V1.6H1.6V5H-1.6V1.6H-5V-1.6H-1.6Z",  # cross
)
WIDTH, HEIGHT = 640, 380
LEFT, RIGHT, TOP, BOTTOM = 56, 16, 12, 48  # margins


class Axis:
    """From numbers to pixels along one side of a chart."""

    def __init__(self, low: float, high: float, start: float, end: float, log: bool = False):
        """
        Args:
            low, high: the numbers at both ends; above 0 with log.
            start, end: their pixels.
            log: equal factors are equally far apart.
        """
        self._scale = math.log if log else float
        self._low, self._high = self._scale(low), self._scale(high)
        self._start, self._end = start, end

    def __call__(self, value: float) -> float:
        share = (self._scale(value) - self._low) / (self._high - self._low)
        return round(self._start + share * (self._end - self._start), 1)


def color(index: int) -> str:
    """Of an entrant, by its place."""
    return COLORS[index % len(COLORS)]


def marker(x: float, y: float, index: int) -> str:
    """The sign of an entrant."""
    shape = SHAPES[index % len(SHAPES)]
    return f'<path d="{shape}" transform="translate({x},{y})" fill="{color(index)}"/>'


def legend(names: Iterable[str]) -> str:
    """HTML: the sign of each entrant and its name."""
    items = (
        f'<li><svg width="14" height="14" viewBox="-7 -7 14 14" aria-hidden="true">'
        f"{marker(0, 0, index)}</svg>{escape(name)}</li>"
        for index, name in enumerate(names)
    )
    return f'<ul class="legend">{"".join(items)}</ul>'


def line_chart(
    series: Mapping[str, Sequence[tuple[float, Interval]]], title: str, x_title: str, y_title: str
) -> str:
    """Percent over some number, one line an entrant, with its interval as a faint band.

    Args:
        series: by entrant the points: x, and a score in percent.
        title, x_title, y_title: text.
    """
    places = [x for points in series.values() for x, _ in points]
    across = Axis(min(places), max(places), LEFT, WIDTH - RIGHT)
    up = Axis(0, 100, HEIGHT - BOTTOM, TOP)
    parts = [_grid(across, sorted(set(places)), up, range(0, 101, 20), x_title, y_title)]
    for index, points in enumerate(series.values()):
        shown = [(across(x), score) for x, score in points if not math.isnan(score.value)]
        sure = [(x, score) for x, score in shown if not math.isnan(score.low)]
        band = [f"{x},{up(score.low)}" for x, score in sure]
        band += [f"{x},{up(score.high)}" for x, score in reversed(sure)]
        line = " ".join(f"{x},{up(score.value)}" for x, score in shown)
        parts.append(
            f'<polygon points="{" ".join(band)}" fill="{color(index)}" opacity="0.12"/>'
            f'<polyline points="{line}" fill="none" stroke="{color(index)}" stroke-width="2"/>'
        )
        parts += [marker(x, up(score.value), index) for x, score in shown]
    return _svg(parts, title)


def count_chart(series: Mapping[str, Sequence[tuple[int, int]]], title: str) -> str:
    """Found over true nuclei, one sign an image; on the line, both are equal.

    Args:
        series: by entrant, true and found numbers of each image.
        title: text.
    """
    highest = max([10, *(n for pairs in series.values() for pair in pairs for n in pair)])
    # One more than there are, so that 0 has a place on a scale of factors.
    across = Axis(1, 1.1 * highest, LEFT, WIDTH - RIGHT, log=True)
    up = Axis(1, 1.1 * highest, HEIGHT - BOTTOM, TOP, log=True)
    ticks = [n for n in (0, 1, 3, 10, 30, 100, 300, 1000, 3000) if n <= highest]
    grid = _grid(
        lambda n: across(n + 1), ticks, lambda n: up(n + 1), ticks, "true nuclei", "found nuclei"
    )
    end = 1.1 * highest
    parts = [grid, _line(across(1), up(1), across(end), up(end), "axis")]
    for index, pairs in enumerate(series.values()):
        signs = (marker(across(true + 1), up(found + 1), index) for true, found in pairs)
        parts.append(f'<g opacity="0.6">{"".join(signs)}</g>')
    return _svg(parts, title)


def group_chart(groups: Mapping[str, Sequence[Interval | None]], title: str, y_title: str) -> str:
    """Scores with their intervals, side by side in each group.

    Args:
        groups: by name, a score of each entrant, None where there is none.
        title, y_title: text.
    """
    up = Axis(0, 100, HEIGHT - BOTTOM, TOP)
    middle = {
        name: LEFT + (WIDTH - LEFT - RIGHT) * (number + 0.5) / len(groups)
        for number, name in enumerate(groups)
    }
    parts = [_grid(middle.get, list(groups), up, range(0, 101, 20), "", y_title)]
    for name, scores in groups.items():
        step = 0.7 * (WIDTH - LEFT - RIGHT) / len(groups) / max(1, len(scores))
        for index, score in enumerate(scores):
            if score is None or math.isnan(score.value):
                continue
            x = round(middle[name] + (index - (len(scores) - 1) / 2) * step, 1)
            if not math.isnan(score.low):
                bounds = f'x1="{x}" x2="{x}" y1="{up(score.low)}" y2="{up(score.high)}"'
                parts.append(f'<line {bounds} stroke="{color(index)}" stroke-width="2"/>')
            parts.append(marker(x, up(score.value), index))
    return _svg(parts, title)


def histogram_chart(
    series: Mapping[str, Sequence[float]], title: str, x_title: str, bins: int = 24
) -> str:
    """Percent of the values in each bin, one line a series; bins are equally wide factors.

    Args:
        series: by name, numbers of 0 or more; below 1 they count as 1.
        title, x_title: text.
        bins: number of them.
    """
    values = {name: np.maximum(1, np.asarray(each, float)) for name, each in series.items()}
    highest = max([10.0, *(each.max() for each in values.values() if each.size)])
    edges = np.geomspace(1, 1.01 * highest, bins + 1)
    middles = np.sqrt(edges[:-1] * edges[1:])
    shares = {
        name: 100 * np.histogram(each, edges)[0] / max(1, each.size)
        for name, each in values.items()
    }
    top = 10 * math.ceil(max([1.0, *(each.max() for each in shares.values())]) / 10)
    across = Axis(edges[0], edges[-1], LEFT, WIDTH - RIGHT, log=True)
    up = Axis(0, top, HEIGHT - BOTTOM, TOP)
    ticks = [n for n in (1, 3, 10, 30, 100, 300, 1000, 3000, 10000) if n <= edges[-1]]
    parts = [_grid(across, ticks, up, range(0, top + 1, 10), x_title, "percent")]
    for index, each in enumerate(shares.values()):
        points = list(zip(map(across, middles), map(up, each), strict=True))
        line = " ".join(f"{x},{y}" for x, y in points)
        parts.append(
            f'<polyline points="{line}" fill="none" stroke="{color(index)}" stroke-width="2"/>'
        )
        parts += [marker(x, y, index) for x, y in points]
    return _svg(parts, title)


def _grid(across, x_ticks, up, y_ticks, x_title: str, y_title: str) -> str:
    bottom = HEIGHT - BOTTOM
    parts = []
    for tick in x_ticks:
        parts.append(_line(across(tick), TOP, across(tick), bottom, "grid"))
        parts.append(_text(across(tick), bottom + 18, tick, "middle"))
    for tick in y_ticks:
        parts.append(_line(LEFT, up(tick), WIDTH - RIGHT, up(tick), "grid"))
        parts.append(_text(LEFT - 8, up(tick) + 4, tick, "end"))
    parts.append(_text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 8, x_title, "middle"))
    y = (TOP + bottom) / 2
    turned = f'transform="rotate(-90 14 {y})"'
    parts.append(_text(14, y, y_title, "middle", turned))
    return "".join(parts)


def _line(x1: float, y1: float, x2: float, y2: float, kind: str) -> str:
    return f'<line class="{kind}" x1="{x1}" y1="{y1}" x2="{x2}" y2="{y2}"/>'


def _text(x: float, y: float, text, anchor: str, more: str = "") -> str:
    return f'<text x="{x}" y="{y}" text-anchor="{anchor}" {more}>{escape(str(text))}</text>'


def _svg(parts: Iterable[str], title: str) -> str:
    head = f'class="chart" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(title)}"'
    return f"<svg {head}>{''.join(parts)}</svg>"
