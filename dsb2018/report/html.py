"""The comparison as one page that needs nothing else: `report.html`."""

import csv
import json
import math
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path

from dsb2018.report.bootstrap import CONFIDENCE, ROUNDS, Interval
from dsb2018.report.charts import count_chart, group_chart, legend, line_chart
from dsb2018.report.comparison import Entry, warn_of_seen
from dsb2018.report.gallery import MISTAKE_COLORS, gallery
from dsb2018.report.quoted import QUOTED
from dsb2018.report.scoring import IMAGES
from dsb2018.report.tables import COLUMNS

PARTS = Path(__file__).parent / "page"  # template, style and script
IOU_THRESHOLDS = range(50, 95, 5)


def to_html(entries: Sequence[Entry]) -> str:
    """A page with a table, charts and a gallery for each dataset; datasets are registered."""
    names = list(dict.fromkeys(entry.dataset for entry in entries))
    sections, data = [], []
    for name in names:
        chosen = [entry for entry in entries if entry.dataset == name]
        sections.append(_section(chosen, len(data)))
        data.append({"names": [entry.name for entry in chosen], "images": gallery(chosen)})
    title = "Nuclei segmentation: comparison"
    return fill_page(title, _introduction(), names, sections, data)


def fill_page(
    title: str, introduction: str, names: Sequence[str], sections: Sequence[str], data: list[dict]
) -> str:
    """A page that needs no other file.

    Args:
        title: text.
        introduction: HTML.
        names: of the sections, which have them as their id.
        sections: HTML.
        data: of the galleries.
    """
    page = (PARTS / "page.html").read_text()
    for place, content in {
        "/*STYLE*/": (PARTS / "page.css").read_text(),
        "/*SCRIPT*/": (PARTS / "page.js").read_text(),
        "<!--TITLE-->": escape(title),
        "<!--INTRODUCTION-->": introduction,
        "<!--NAVIGATION-->": "".join(f'<a href="#{n}">{n}</a>' for n in map(escape, names)),
        "<!--SECTIONS-->": "\n".join(sections),
        "/*DATA*/": json.dumps(data).replace("</", "<\\/"),  # else it could end the script
    }.items():
        page = page.replace(place, content)
    return page


def _introduction() -> str:
    return (
        f"Scores in percent; in brackets their {CONFIDENCE} % interval, from {ROUNDS} draws of the "
        "images with replacement. mAP is the score of the 2018 Data Science Bowl, AP50 to AP90 "
        "are StarDist's, COCO AP ranks nuclei by their scores. Rows in italics are quoted, and are "
        "of other images."
    )


def _section(entries: Sequence[Entry], number: int) -> str:
    first = entries[0]
    counts = ", ".join(f"{count} {name}" for name, count in first.modalities.items())
    title = escape(f"{first.dataset}: {first.images} images" + (f" ({counts})" if counts else ""))
    parts = [f'<section id="{escape(first.dataset)}">', f"<h2>{title}</h2>"]
    if warning := warn_of_seen(entries):
        parts.append(f'<p class="warning" role="note">{escape(warning)}</p>')
    parts += [_table(entries), _charts(entries), _gallery(entries, number), "</section>"]
    return "\n".join(parts)


def _table(entries: Sequence[Entry]) -> str:
    heads = ["", *COLUMNS.values(), "time of an image"]
    head = "".join(f'<th scope="col">{escape(each)}</th>' for each in heads)
    rows = [f"<tr>{head}</tr>"]
    for entry in entries:
        seconds = entry.cost.get("seconds_per_image")
        cells = [_cell(entry.scores.get(metric)) for metric in COLUMNS]
        cells.append("–" if seconds is None else f"{seconds:.2f} s")
        rows.append(_row(entry.name, cells, ""))
    for each in QUOTED:
        cells = [f"{each.scores[m]:.1f}" if m in each.scores else "–" for m in COLUMNS]
        rows.append(_row(f"{each.name}, quoted", [*cells, "–"], ' class="quoted"'))
    names: dict[str, list[str]] = {}
    for each in QUOTED:
        names.setdefault(f"{each.images} ({each.source})", []).append(each.name)
    sources = escape("; ".join(f"{', '.join(rows)}: {of}" for of, rows in names.items()))
    return (
        f'<div class="scroll"><table>{"".join(rows)}</table></div>'
        f"<p><small>Quoted: {sources}.</small></p>"
    )


def _row(name: str, cells: Sequence[str], kind: str) -> str:
    shown = "".join(f"<td>{cell}</td>" for cell in cells)
    return f'<tr{kind}><th scope="row">{escape(name)}</th>{shown}</tr>'


def _cell(score: Interval | None) -> str:
    if score is None or math.isnan(score.value):
        return "–"
    if math.isnan(score.low):
        return f"{score.value:.1f}"
    return f"{score.value:.1f} <small>[{score.low:.1f}, {score.high:.1f}]</small>"


def _charts(entries: Sequence[Entry]) -> str:
    thresholds = {
        entry.name: [(t / 100, entry.scores[f"nuclei/AP{t}"]) for t in IOU_THRESHOLDS]
        for entry in entries
    }
    charts = {
        "Precision over IoU threshold": line_chart(
            thresholds, "AP over IoU threshold", "IoU that makes a match", "AP, percent"
        ),
        "Does the count agree?": count_chart(
            {entry.name: _counts(entry) for entry in entries}, "Found over true nuclei"
        ),
    }
    for metric in ("nuclei/mAP", "sem_seg/IoU"):
        groups = {
            name: [entry.scores.get(f"{metric}/{name}") for entry in entries]
            for name in entries[0].modalities
        }
        if groups:
            title = f"{COLUMNS[metric]} by modality"
            charts[title] = group_chart(groups, title, f"{COLUMNS[metric]}, percent")
    return legend(entry.name for entry in entries) + chart_grid(charts)


def chart_grid(charts: Mapping[str, str]) -> str:
    """Charts by title, side by side where there is room."""
    shown = "".join(f"<div><h3>{escape(t)}</h3>{chart}</div>" for t, chart in charts.items())
    return f'<div class="charts">{shown}</div>'


def _counts(entry: Entry) -> list[tuple[int, int]]:
    with open(entry.folder / IMAGES, newline="") as file:
        return [(int(row["true"]), int(row["predicted"])) for row in csv.DictReader(file)]


def _gallery(entries: Sequence[Entry], number: int) -> str:
    names = [entry.name for entry in entries]
    models = dict(enumerate(names))
    controls = [
        _choice("first", "Shown", models),
        _choice("second", "beside", {-1: "nothing", **models}),
        _choice(
            "order",
            "Order",
            {
                "worst": "lowest mAP first",
                "best": "highest mAP first",
                "pixels": "lowest IoU first",
                "gap": "where the second is better",
                "crowded": "most nuclei first",
                "name": "name",
            },
        ),
        _choice("modality", "Modality", {"": "all", **{m: m for m in entries[0].modalities}}),
        _switch("truth", "truth", "#009E73", "T"),
        _switch("found", "found", "#D55E00", "F"),
        _switch("mistakes", "mistakes", "", "M"),
        '<span class="number" role="status"></span>',
    ]
    swatches = "".join(
        f'<li><span class="swatch" style="background:rgb{color}"></span>{kind}</li>'
        for kind, color in MISTAKE_COLORS.items()
    )
    return (
        f'<h3>Every image</h3><div data-gallery="{number}">'
        f'<div class="controls">{"".join(controls)}<ul class="legend">{swatches}</ul></div>'
        '<div class="cards"></div></div>'
    )


def _choice(name: str, label: str, options: dict) -> str:
    shown = "".join(
        f'<option value="{escape(str(value))}">{escape(text)}</option>'
        for value, text in options.items()
    )
    return f'<label>{label} <select data-control="{name}">{shown}</select></label>'


def _switch(name: str, label: str, color: str, key: str) -> str:
    swatch = f'<span class="swatch" style="background:{color}"></span>' if color else ""
    return (
        f'<label><input type="checkbox" checked data-control="{name}">{swatch}{label} '
        f"<kbd>{key}</kbd></label>"
    )
