"""Tables of a comparison: `results.json`, `results.csv` and `results.md`."""

import io
import json
import math
import re
from collections.abc import Iterable, Sequence

from tabulate import tabulate

from dsb2018.evaluation.metrics import Show, shown
from dsb2018.io.csv_text import write_rows
from dsb2018.pages.interval import Interval
from dsb2018.report.bootstrap import CONFIDENCE, ROUNDS
from dsb2018.report.comparison import Difference, EntrantScores, warn_of_seen
from dsb2018.report.quoted import PAPER, QUOTED, quoted_beside

TRAINING = "dsb2018_train"  # the accuracy on this dataset is the training accuracy of the paper
# Columns of the table of all metrics: {metric: heading}
COLUMNS = {name: metric.heading for name, metric in shown(Show.TABLE).items()}
BY_MODALITY = tuple(shown(Show.MODALITY))
DASH = "–"
INTRODUCTION = (
    f"Scores are in percent, with the {CONFIDENCE} % bootstrap interval in brackets ({ROUNDS} "
    "draws of the images, with replacement). A difference is computed on the same draws for both "
    "models; it is bold if its interval excludes 0."
)
PUBLISHED_ON_OTHER_IMAGES = (
    "These results are quoted from their sources. They were measured on other images than the "
    "results above."
)


def to_json(entries: Sequence[EntrantScores], differences: Sequence[Difference]) -> str:
    """Returns all results as JSON: scores with intervals, cost, differences, and quoted results."""
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
                "scores": {name: _to_dict(score) for name, score in entry.scores.items()},
            }
            for entry in entries
        ],
        "differences": [
            {
                "dataset": difference.dataset,
                "metric": difference.metric,
                "first": difference.first,
                "second": difference.second,
                "points": _to_dict(difference.points),
            }
            for difference in differences
        ],
        "quoted": [result._asdict() for result in QUOTED],
    }
    return json.dumps(content, indent=2) + "\n"


def _to_dict(score: Interval) -> dict[str, float | None]:
    """Converts an interval for JSON, which has no NaN: NaN becomes None."""
    return {key: None if math.isnan(v) else round(v, 4) for key, v in score._asdict().items()}


def to_csv(entries: Iterable[EntrantScores]) -> str:
    """Returns a CSV table with one row per score and the columns name, dataset, task, metric,
    modality, value, low, high."""
    file = io.StringIO()
    rows = [["name", "dataset", "task", "metric", "modality", "value", "low", "high"]]
    for entry in entries:
        for name, score in entry.scores.items():
            task, metric, modality = (*name.split("/", 2), "")[:3]
            numbers = ["" if value is None else value for value in _to_dict(score).values()]
            rows.append([entry.name, entry.dataset, task, metric, modality, *numbers])
    write_rows(file, rows)
    return file.getvalue()


def to_markdown(entries: Sequence[EntrantScores], differences: Sequence[Difference]) -> str:
    """Returns the tables as Markdown: metrics of the paper, all metrics, scores by modality, cost,
    differences, and published results."""
    parts = ["# Results", INTRODUCTION]
    parts += ["## Metrics of the paper", f"The same metrics as in {PAPER}:", paper_table(entries)]
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
            parts += ["Scores by modality:", modality_table(chosen)]
        parts += ["Cost:", cost_table(chosen)]
        of_dataset = [difference for difference in differences if difference.dataset == dataset]
        if of_dataset:
            parts.append("Differences, first minus second, in percentage points:")
            parts.append(difference_table(of_dataset))
    if quoted_beside(datasets):
        parts += ["## Published results", PUBLISHED_ON_OTHER_IMAGES, quoted_table()]
    return "\n\n".join(parts) + "\n"


def paper_table(entries: Sequence[EntrantScores]) -> str:
    """Returns a table with the metrics of the paper: training accuracy, test accuracy, mean IoU.

    If one of the datasets has real DSB2018 images, the results of the paper are quoted.
    """
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
    for result in quoted_beside(entry.dataset for entry in entries):
        if "sem_seg/IoU" in result.scores:
            scores = [number(result.scores[f"sem_seg/{name}"]) for name in ("accuracy", "IoU")]
            rows.append([f"*{result.name}, quoted*", f"*{result.images}*", DASH, *scores, DASH])
    heads = ["", "images", "training accuracy", "test accuracy", "mean IoU", "mIoU (two classes)"]
    return markdown_table(heads, rows)


def quoted_table() -> str:
    """Returns a table of the published results of others with their sources."""
    metrics = [metric for metric in COLUMNS if any(metric in result.scores for result in QUOTED)]
    rows = [
        [
            result.name,
            result.images,
            *(number(result.scores[m]) if m in result.scores else DASH for m in metrics),
            result.source,
        ]
        for result in QUOTED
    ]
    heads = ["", "images", *(COLUMNS[metric] for metric in metrics), "source"]
    return markdown_table(heads, rows)


def score_table(entries: Sequence[EntrantScores]) -> str:
    """Returns a table with all metrics of the entrants on one dataset."""
    rows = [
        [
            escape_markdown(entry.name),
            *(with_interval(entry.scores.get(metric)) for metric in COLUMNS),
        ]
        for entry in entries
    ]
    return markdown_table(["", *COLUMNS.values()], rows)


def modality_table(entries: Sequence[EntrantScores]) -> str:
    """Returns a table with the main metrics for each modality."""
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
    """Returns a table with the parameters, seconds per image and peak memory of each entrant."""
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
    return markdown_table(["", "parameters", "time per image", "peak memory"], rows)


def difference_table(differences: Sequence[Difference]) -> str:
    """Returns a table with a row for every two entrants and a column for each metric."""
    metrics = list(dict.fromkeys(difference.metric for difference in differences))
    pairs: dict[tuple[str, str], dict[str, Difference]] = {}
    for difference in differences:
        pair = difference.first, difference.second
        pairs.setdefault(pair, {})[difference.metric] = difference
    rows = []
    for (first, second), by_metric in pairs.items():
        cells = []
        for metric in metrics:
            text = with_interval(by_metric[metric].points, sign="+")
            cells.append(f"**{text}**" if by_metric[metric].is_clear else text)
        rows.append([escape_markdown(first), escape_markdown(second), *cells])
    return markdown_table(["first", "second", *(COLUMNS[metric] for metric in metrics)], rows)


def with_interval(score: Interval | None, sign: str = "") -> str:
    """Formats a score with its interval: "84.8 [82.1, 87.0]", or a dash if there is no score.

    Args:
        score: score in percent; None or NaN if there is none.
        sign: "+" to write a plus sign before positive numbers.
    """
    if score is None or math.isnan(score.value):
        return DASH
    if math.isnan(score.low):
        return number(score.value, sign)
    return f"{number(score.value, sign)} [{number(score.low, sign)}, {number(score.high, sign)}]"


def number(value: float, sign: str = "") -> str:
    """Formats a score with one decimal; the intervals are too wide for more."""
    return f"{value:{sign}.1f}"


def markdown_table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Returns a Markdown table. Line breaks and control characters in cells become spaces."""
    lines = [[_one_line(cell) for cell in row] for row in (heads, *rows)]
    return tabulate(lines[1:], lines[0], tablefmt="github", disable_numparse=True)


def _one_line(cell: str) -> str:
    # tabulate draws a row as a horizontal line if one of its cells is the control character 1.
    return " ".join(re.sub(r"[\x00-\x1f\x7f]", " ", cell).split())


def escape_markdown(text: str) -> str:
    """Escapes a name, so that Markdown shows it as plain text in one table cell."""
    return re.sub(r"([\\`*\[\]<>|~&$])", r"\\\1", " ".join(text.split()))
