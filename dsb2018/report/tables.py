"""A comparison as files: `results.json`, `results.csv` and `results.md`."""

import io
import json
import math
import re
from collections.abc import Iterable, Sequence

from tabulate import tabulate

from dsb2018.evaluation.metrics import Show, shown
from dsb2018.io.csv_text import write_rows
from dsb2018.report.bootstrap import CONFIDENCE, ROUNDS, Interval
from dsb2018.report.comparison import Difference, EntrantScores, warn_of_seen
from dsb2018.report.quoted import QUOTED, quoted_beside

TRAINING = "dsb2018_train"  # whose accuracy the paper's table calls training accuracy
# Columns of the table of all metrics: metric → heading
COLUMNS = {name: metric.heading for name, metric in shown(Show.TABLE).items()}
BY_MODALITY = tuple(shown(Show.MODALITY))
DASH = "–"


def to_json(entries: Sequence[EntrantScores], found: Sequence[Difference]) -> str:
    """Everything: scores with intervals, cost, differences, and what is quoted."""
    content = {
        "interval": {"percent": CONFIDENCE, "draws": ROUNDS},
        "entries": [
            {
                "name": entry.name,
                "dataset": entry.dataset,
                "images": entry.images,
                "modalities": dict(entry.modalities),
                "seen": entry.seen,
                "cost": dict(entry.cost),
                "scores": {name: _clean(score) for name, score in entry.scores.items()},
            }
            for entry in entries
        ],
        "differences": [
            {
                "dataset": each.dataset,
                "metric": each.metric,
                "first": each.first,
                "second": each.second,
                "points": _clean(each.points),
            }
            for each in found
        ],
        "quoted": [each._asdict() for each in QUOTED],
    }
    return json.dumps(content, indent=2) + "\n"


def _clean(score: Interval) -> dict[str, float | None]:
    """NaN, which JSON does not have, becomes null."""
    return {key: None if math.isnan(v) else round(v, 4) for key, v in score._asdict().items()}


def to_csv(entries: Iterable[EntrantScores]) -> str:
    """A line for each score: name, dataset, task, metric, modality, value, low, high."""
    file = io.StringIO()
    rows = [["name", "dataset", "task", "metric", "modality", "value", "low", "high"]]
    for entry in entries:
        for name, score in entry.scores.items():
            task, metric, modality = (*name.split("/", 2), "")[:3]
            numbers = ["" if value is None else value for value in _clean(score).values()]
            rows.append([entry.name, entry.dataset, task, metric, modality, *numbers])
    write_rows(file, rows)
    return file.getvalue()


def to_markdown(entries: Sequence[EntrantScores], found: Sequence[Difference]) -> str:
    """The tables to read: the paper's columns, all others, by modality, cost, and differences."""
    parts = ["# Results", _introduction(), "## The paper's columns", paper_table(entries)]
    datasets = list(dict.fromkeys(entry.dataset for entry in entries))
    for dataset in datasets:
        chosen = [entry for entry in entries if entry.dataset == dataset]
        counts = ", ".join(f"{n} {name}" for name, n in chosen[0].modalities.items())
        heading = f"{dataset}: {chosen[0].images} images" + (f" ({counts})" * bool(counts))
        parts.append(f"## {escape_markdown(heading)}")
        if warning := warn_of_seen(chosen):
            parts.append(f"**{escape_markdown(warning)}**")
        parts.append(score_table(chosen))
        if len(chosen[0].modalities) > 1:
            parts += ["By modality:", modality_table(chosen)]
        parts += ["Cost:", cost_table(chosen)]
        some = [each for each in found if each.dataset == dataset]
        if some:
            parts += ["Differences of the first to the second, in points:", difference_table(some)]
    if quoted_beside(datasets):
        parts += ["## Published elsewhere", "Quoted: of other images than ours.", quoted_table()]
    return "\n\n".join(parts) + "\n"


def _introduction() -> str:
    return (
        f"Scores in percent. In brackets the {CONFIDENCE} % interval of the bootstrap: {ROUNDS} "
        "draws of the images, with replacement. A difference is of the same draws of both; it is "
        "bold where its interval does not hold 0."
    )


def paper_table(entries: Sequence[EntrantScores]) -> str:
    """Training accuracy, test accuracy and mean IoU; beside real DSB2018 images also the paper's
    own rows, quoted."""
    trained = {entry.name: entry for entry in entries if entry.dataset == TRAINING}
    tested = [entry for entry in entries if entry.dataset != TRAINING]
    rows = []
    for entry in tested:
        training = trained.get(entry.name)
        rows.append(
            [
                escape_markdown(entry.name),
                escape_markdown(entry.dataset),
                number(training.scores["sem_seg/accuracy"].value) if training else DASH,
                with_interval(entry.scores["sem_seg/accuracy"]),
                with_interval(entry.scores["sem_seg/IoU"]),
                with_interval(entry.scores["sem_seg/mIoU"]),
            ]
        )
    for each in quoted_beside(entry.dataset for entry in entries):
        if "sem_seg/IoU" in each.scores:
            shown = [number(each.scores[f"sem_seg/{name}"]) for name in ("accuracy", "IoU")]
            rows.append([f"*{each.name}, quoted*", f"*{each.images}*", DASH, *shown, DASH])
    heads = ["", "images", "training accuracy", "test accuracy", "mean IoU", "mIoU of both classes"]
    return markdown_table(heads, rows)


def quoted_table() -> str:
    """What others published, with its source."""
    metrics = [metric for metric in COLUMNS if any(metric in each.scores for each in QUOTED)]
    rows = [
        [
            each.name,
            each.images,
            *(number(each.scores[m]) if m in each.scores else DASH for m in metrics),
            each.source,
        ]
        for each in QUOTED
    ]
    heads = ["", "images", *(COLUMNS[metric] for metric in metrics), "source"]
    return markdown_table(heads, rows)


def score_table(entries: Sequence[EntrantScores]) -> str:
    """All metrics of the entrants on one dataset."""
    rows = [
        [
            escape_markdown(entry.name),
            *(with_interval(entry.scores.get(metric)) for metric in COLUMNS),
        ]
        for entry in entries
    ]
    return markdown_table(["", *COLUMNS.values()], rows)


def modality_table(entries: Sequence[EntrantScores]) -> str:
    """The main metrics of each modality."""
    modalities = list(entries[0].modalities)
    heads = [
        f"{escape_markdown(name)}: {COLUMNS[metric]}"
        for name in modalities
        for metric in BY_MODALITY
    ]
    rows = [
        [
            escape_markdown(entry.name),
            *(
                with_interval(entry.scores.get(f"{metric}/{name}"))
                for name in modalities
                for metric in BY_MODALITY
            ),
        ]
        for entry in entries
    ]
    return markdown_table(["", *heads], rows)


def cost_table(entries: Sequence[EntrantScores]) -> str:
    """Seconds an image, parameters and memory."""
    rows = []
    for entry in entries:
        seconds, parameters, memory = (
            entry.cost.get(key) for key in ("seconds_per_image", "parameters", "peak_memory")
        )
        rows.append(
            [
                escape_markdown(entry.name),
                DASH if parameters is None else f"{parameters / 1e6:.2f} M",
                DASH if seconds is None else f"{seconds:.3f} s",
                DASH if memory is None else f"{memory / 2**30:.2f} GiB",
            ]
        )
    return markdown_table(["", "parameters", "time of an image", "peak memory"], rows)


def difference_table(found: Sequence[Difference]) -> str:
    """A row for each two entrants, a column for each metric."""
    metrics = list(dict.fromkeys(each.metric for each in found))
    pairs: dict[tuple[str, str], dict[str, Difference]] = {}
    for each in found:
        pairs.setdefault((each.first, each.second), {})[each.metric] = each
    rows = []
    for (first, second), by_metric in pairs.items():
        cells = []
        for metric in metrics:
            text = with_interval(by_metric[metric].points, sign="+")
            cells.append(f"**{text}**" if by_metric[metric].is_clear else text)
        rows.append([escape_markdown(first), escape_markdown(second), *cells])
    return markdown_table(["first", "second", *(COLUMNS[metric] for metric in metrics)], rows)


def with_interval(score: Interval | None, sign: str = "") -> str:
    """A score as text: "84.8 [82.1, 87.0]", or a dash where there is none.

    Args:
        score: in percent, or None.
        sign: "+" for a sign before positive numbers too.
    """
    if score is None or math.isnan(score.value):
        return DASH
    if math.isnan(score.low):
        return number(score.value, sign)
    return f"{number(score.value, sign)} [{number(score.low, sign)}, {number(score.high, sign)}]"


def number(value: float, sign: str = "") -> str:
    """One decimal, as many as an interval of some points can carry."""
    return f"{value:{sign}.1f}"


def markdown_table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table of Markdown; cells stay as they are, but for line breaks and control characters."""
    lines = [[_one_line(cell) for cell in row] for row in (heads, *rows)]
    return tabulate(lines[1:], lines[0], tablefmt="github", disable_numparse=True)


def _one_line(cell: str) -> str:
    # To tabulate, a cell of the control character 1 makes its row a horizontal line.
    return " ".join(re.sub(r"[\x00-\x1f\x7f]", " ", cell).split())


def escape_markdown(text: str) -> str:
    """A name as text of Markdown: no markup, HTML, link or end of a table's cell."""
    return re.sub(r"([\\`*\[\]<>|~&$])", r"\\\1", " ".join(text.split()))
