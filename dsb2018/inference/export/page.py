"""A web page of all results: each image with its outlines, and charts over all images."""

import base64
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import cv2
import numpy as np

from dsb2018.inference.export.base import Exporter, ExportJob, register_exporter
from dsb2018.inference.export.overlay import draw_overlay
from dsb2018.inference.export.parts import reading
from dsb2018.inference.measurements import Columns
from dsb2018.io.files import read_json, write_atomically

EDGE = 720  # longest edge of a picture on the page, pixels
QUALITY = 80  # of the JPEG pictures
MOST_PICTURES = 300  # more would make the page too large for a browser
BINS = np.geomspace(4, 128, 21)  # of the diameters, pixels


class PageExporter(Exporter):
    """Collects what the page shows of each image; `write_page` writes `index.html`."""

    name = "page"
    part_suffix = ".page"  # JSON; `.json` alone is the record of an image

    def write(self, job: ExportJob, columns: Columns) -> None:
        """See `Exporter.write`."""
        picture = draw_overlay(job.nuclei, *job.picture, EDGE)
        options = [cv2.IMWRITE_JPEG_QUALITY, QUALITY]
        jpeg = cv2.imencode(".jpg", picture[..., ::-1], options)[1].tobytes()
        diameters = 2 * np.sqrt(job.nuclei.areas / np.pi)
        histogram = np.histogram(np.clip(diameters, BINS[0], BINS[-1]), BINS)[0]
        part = {"picture": base64.b64encode(jpeg).decode(), "histogram": histogram.tolist()}
        write_atomically(job.part(self), json.dumps(part))


register_exporter(PageExporter())


def write_page(
    path: Path,
    records: Mapping[str, dict],
    done: Path,
    failed: Sequence[str],
    settings: Mapping[str, str],
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

    Raises:
        DamagedPartError: a part file cannot be read.
        OSError: the page cannot be written.
    """
    from markupsafe import Markup  # these imports take a while

    from dsb2018.pages.charts import histogram_chart
    from dsb2018.pages.render import render

    rows = [(name, row) for name, record in records.items() for row in record["images"]]
    rows.sort(key=lambda item: (not item[1]["warning"], item[1]["image"]))
    cards, total = [], np.zeros(len(BINS) - 1, int)
    for name, row in rows:
        part = done / name / f"{row['image']}{PageExporter.part_suffix}"
        with reading(part):
            content = read_json(part)
            histogram = np.asarray(content["histogram"], int)
            total += histogram
            if len(cards) < MOST_PICTURES:
                cards.append({**row, "picture": content["picture"], "bars": _bars(histogram)})
    centers = np.sqrt(BINS[:-1] * BINS[1:])
    charts = {
        "Diameter of the nuclei": {"": np.repeat(centers, total)},
        "Nuclei per image": {"": [row["nuclei"] for _, row in rows]},
    }
    axes = {"Diameter of the nuclei": "diameter, pixels", "Nuclei per image": "nuclei"}
    page = render(
        "predictions.html",
        title="Nuclei",
        images=len(rows),
        nuclei=sum(row["nuclei"] for _, row in rows),
        doubtful=sum(bool(row["warning"]) for _, row in rows),
        failed=failed,
        cards=cards,
        rows=[row for _, row in rows],
        charts={
            title: Markup(histogram_chart(series, title, axes[title]))
            for title, series in charts.items()
            if rows
        },
        settings=settings,
    )
    write_atomically(path, page)


def _bars(histogram: np.ndarray) -> list[float]:
    """Returns the heights of the bars of a histogram, 0 to 1."""
    return np.round(histogram / max(1, histogram.max()), 3).tolist()
