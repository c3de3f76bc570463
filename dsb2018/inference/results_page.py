"""A web page of all results: each image with its outlines, and charts over images and groups."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow.parquet as parquet
from markupsafe import Markup

from dsb2018.inference.export.page import BINS, PageExporter
from dsb2018.inference.export.parts import reading
from dsb2018.inference.groups import Grouping
from dsb2018.io.files import read_json, write_atomically
from dsb2018.pages.charts import bar_chart, group_chart
from dsb2018.pages.interval import Interval
from dsb2018.pages.render import render

MOST_PICTURES = 300  # more would make the page too large for a browser
MOST_BARS = 24
MOST_GROUPS = 40  # more cannot be told apart in a chart
# {column of groups.csv, without suffix: (title of its chart, title of the axis)}
GROUP_CHARTS = {
    "nuclei_per_image": ("Nuclei per image, by group: median and quartiles of images", "nuclei"),
    "nuclei_per_mm2": ("Density, by group: median and quartiles of images", "nuclei per mm²"),
    "area": ("Area, by group: median and quartiles of nuclei", "pixels"),
    "area_um2": ("Area in µm², by group: median and quartiles of nuclei", "µm²"),
    "intensity_mean": ("Intensity, by group: median and quartiles of nuclei", "gray values"),
}


class Entry(NamedTuple):
    """An image on the page: its row of `images.csv`, its JPEG in base64 and its histogram."""

    row: dict
    picture: str
    histogram: np.ndarray


def write_page(
    path: Path,
    records: Mapping[str, dict],
    done: Path,
    failed: Sequence[str],
    settings: Mapping[str, str],
    grouping: Grouping | None = None,
) -> None:
    """Writes the page, a single file that works offline.

    Images with a warning come first. Of more than `MOST_PICTURES` images, the others are in the
    table only.

    Args:
        path: the HTML file.
        records: {name of the image file: record}, see `records`.
        done: folder that contains a folder of part files for each image file.
        failed: a message for each file that failed.
        settings: options of the run, to repeat it.
        grouping: of the groups in `groups.parquet` beside the page.

    Raises:
        DamagedPartError: a part file cannot be read.
        OSError: the page cannot be written.
    """
    rows, cards, total = [], [], np.zeros(len(BINS) - 1, int)
    for row, picture, histogram in _entries(records, done):
        rows.append(row)
        total += histogram
        if len(cards) < MOST_PICTURES:
            cards.append({**row, "picture": picture, "bars": _bars(histogram)})
    charts = _image_charts(rows, total) if rows else {}
    if grouping:
        charts |= _group_charts(path.with_name("groups.parquet"), grouping)
    page = render(
        "predictions.html",
        title="Nuclei",
        nuclei=sum(row["nuclei"] for row in rows),
        doubtful=sum(bool(row["warning"]) for row in rows),
        failed=failed,
        cards=cards,
        rows=rows,
        charts=charts,
        settings=settings,
    )
    write_atomically(path, page)


def _entries(records: Mapping[str, dict], done: Path) -> Iterator[Entry]:
    """Yields the images, those with a warning first."""
    rows = [(name, row) for name, record in records.items() for row in record["images"]]
    rows.sort(key=lambda item: (not item[1]["warning"], item[1]["image"]))
    for name, row in rows:
        part = done / name / f"{row['image']}{PageExporter.part_suffix}"
        with reading(part):
            content = read_json(part)
            yield Entry(row, content["picture"], np.asarray(content["histogram"], int))


def _image_charts(rows: Sequence[Mapping], histogram: np.ndarray) -> dict[str, Markup]:
    """Returns charts over all images, {title: SVG}."""
    numbers = [row["nuclei"] for row in rows]
    edges = np.histogram_bin_edges(numbers, "auto")
    if len(edges) > MOST_BARS + 1:
        edges = np.histogram_bin_edges(numbers, MOST_BARS)
    title, of_images = "Diameter of the nuclei", "Nuclei per image"
    axis_titles = "diameter, pixels", "number of nuclei"
    charts = {
        title: bar_chart(histogram, BINS, title, axis_titles, is_logarithmic=True),
        of_images: bar_chart(
            np.histogram(numbers, edges)[0], edges, of_images, ("nuclei", "number of images")
        ),
    }
    return {title: Markup(chart) for title, chart in charts.items()}


def _group_charts(path: Path, grouping: Grouping) -> dict[str, Markup]:
    """Returns charts of the medians and quartiles of `groups.parquet`, {title: SVG}."""
    groups = parquet.read_table(path).to_pylist()[:MOST_GROUPS]
    charts = {}
    for column, (title, axis) in GROUP_CHARTS.items():
        if column == "area" and groups and "area_um2_median" in groups[0]:
            continue
        intervals = {
            " ".join(str(group[name]) for name in grouping.names): [
                Interval(*(group[f"{column}_{end}"] for end in ("median", "q25", "q75")))
            ]
            for group in groups
            if group.get(f"{column}_median") is not None
        }
        if intervals:
            charts[title] = Markup(group_chart(intervals, title, axis, largest=None))
    return charts


def _bars(histogram: np.ndarray) -> list[float]:
    """Returns the heights of the bars of a histogram, 0 to 1."""
    return np.round(histogram / max(1, histogram.max()), 3).tolist()
