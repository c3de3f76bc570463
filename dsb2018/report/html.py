"""The report of a comparison, `report.html`: a single page that works offline."""

import math
from collections.abc import Iterable, Mapping, Sequence

from markupsafe import Markup

from dsb2018.draw import PREDICTED, TRUTH
from dsb2018.evaluation.metrics import Show, shown
from dsb2018.io.csv_text import read_rows
from dsb2018.pages.charts import count_chart, group_chart, legend, line_chart
from dsb2018.pages.interval import Interval
from dsb2018.pages.render import render
from dsb2018.report.bootstrap import CONFIDENCE, ROUNDS
from dsb2018.report.comparison import EntrantScores, warn_of_seen
from dsb2018.report.gallery import MISTAKE_COLORS, gallery
from dsb2018.report.quoted import Quoted, quoted_beside
from dsb2018.report.result_tables import COLUMNS
from dsb2018.report.scoring import IMAGES

IOU_THRESHOLDS = range(50, 95, 5)
INTRODUCTION = (
    f"Scores are in percent, with the {CONFIDENCE} % bootstrap interval below ({ROUNDS} draws of "
    "the images, with replacement). mAP is the score of the 2018 Data Science Bowl. AP50 to AP90 "
    "are average precision as StarDist defines it. COCO AP ranks the predicted nuclei by their "
    "confidence."
)
ORDERS = {
    "worst": "lowest mAP first",
    "best": "highest mAP first",
    "pixels": "lowest IoU first",
    "gap": "largest mAP lead of the second model",
    "crowded": "most nuclei first",
    "name": "name",
}


def to_html(entries: Sequence[EntrantScores]) -> str:
    """Returns a page with a table, charts and a gallery for each dataset.

    The datasets must be registered.
    """
    names = list(dict.fromkeys(entry.dataset for entry in entries))
    sections, data = [], []
    for name in names:
        chosen = [entry for entry in entries if entry.dataset == name]
        sections.append(_section(chosen))
        data.append({"names": [entry.name for entry in chosen], "images": gallery(chosen)})
    return render(
        "report.html",
        title="Nuclei segmentation: comparison",
        introduction=INTRODUCTION,
        names=names,
        sections=sections,
        data=data,
        orders=ORDERS,
        mistakes=MISTAKE_COLORS,
        colors={"truth": TRUTH, "predicted": PREDICTED},
    )


def _section(entries: Sequence[EntrantScores]) -> dict:
    first = entries[0]
    counts = ", ".join(f"{count} {name}" for name, count in first.modalities.items())
    models = dict(enumerate(entry.name for entry in entries))
    quoted = quoted_beside([first.dataset])
    rows = [["", *COLUMNS.values(), "time per image"], *map(_score_row, entries)]
    return {
        "name": first.dataset,
        "title": f"{first.dataset}: {first.images} images" + (f" ({counts})" if counts else ""),
        "warning": warn_of_seen(entries),
        "rows": [*rows, *map(_quoted_row, quoted)],
        "kinds": [""] * len(rows) + ["quoted"] * len(quoted),
        "sources": _sources(quoted),
        "legend": Markup(legend(models.values())),
        "charts": {title: Markup(chart) for title, chart in _charts(entries).items()},
        "models": models,
        "models_or_none": {-1: "none", **models},
        "modalities": {"": "all", **{name: name for name in first.modalities}},
    }


def _score_row(entry: EntrantScores) -> list[str]:
    seconds = entry.cost.get("seconds_per_image")
    cells = [_format_score(entry.scores.get(metric)) for metric in COLUMNS]
    return [entry.name, *cells, "–" if seconds is None else f"{seconds:.2f} s"]


def _quoted_row(quoted: Quoted) -> list[str]:
    scores = quoted.scores
    cells = [f"{scores[metric]:.1f}" if metric in scores else "–" for metric in COLUMNS]
    return [f"{quoted.name}, quoted", *cells, "–"]


def _sources(quoted: Iterable[Quoted]) -> str:
    models: dict[str, list[str]] = {}
    for result in quoted:
        models.setdefault(f"{result.images} ({result.source})", []).append(result.name)
    return "; ".join(f"{', '.join(names)}: {source}" for source, names in models.items())


def _format_score(score: Interval | None) -> str:
    if score is None or math.isnan(score.value):
        return "–"
    if math.isnan(score.low):
        return f"{score.value:.1f}"
    return Markup("{:.1f}<small>{:.1f}–{:.1f}</small>").format(*score)


def _charts(entries: Sequence[EntrantScores]) -> Mapping[str, str]:
    charts = {}
    counts = {entry.name: _counts(entry) for entry in entries}
    if any(counts.values()):
        title = "Average precision by IoU threshold"
        thresholds = {
            entry.name: [(t / 100, entry.scores[f"nuclei/AP{t}"]) for t in IOU_THRESHOLDS]
            for entry in entries
        }
        charts[title] = line_chart(thresholds, title, "IoU threshold", "AP, percent")
        charts["Number of nuclei"] = count_chart(counts, "Predicted against true nuclei")
    for metric in shown(Show.MODALITY):
        groups = {
            name: [entry.scores.get(f"{metric}/{name}") for entry in entries]
            for name in entries[0].modalities
        }
        if groups:
            title = f"{COLUMNS[metric]} by modality"
            charts[title] = group_chart(groups, title, f"{COLUMNS[metric]}, percent")
    return charts


def _counts(entry: EntrantScores) -> list[tuple[int, int]]:
    """Returns the true and the predicted number of nuclei of each image where both are known."""
    rows = read_rows(entry.folder / IMAGES)
    return [(int(row["true"]), int(row["predicted"])) for row in rows if row["true"]]
