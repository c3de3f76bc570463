"""Scores of all entrants with confidence intervals, and the paired differences between them."""

import itertools
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dsb2018.evaluation.metrics import Show, shown
from dsb2018.pages.interval import Interval
from dsb2018.report.bootstrap import interval
from dsb2018.report.scoring import SAMPLES, SCORES

COMPARED = tuple(shown(Show.DIFFERENCE))  # metrics whose differences are computed


@dataclass(frozen=True)
class EntrantScores:
    """Scores of one entrant on one dataset.

    Args:
        name: name of the entrant.
        dataset: name of the dataset.
        images: number of images.
        modalities: number of images of each modality.
        seen: number of images that the entrant was trained on.
        scores: {"task/metric" or "task/metric/modality": score in percent}.
        cost: `seconds_per_image`, `parameters` and `peak_memory` (bytes), as far as known.
        samples: {metric: (rounds,) scores of the bootstrap draws in percent}.
        folder: folder that the scores were read from.
    """

    name: str
    dataset: str
    images: int
    modalities: Mapping[str, int]
    seen: int
    scores: Mapping[str, Interval]
    cost: Mapping[str, float | None]
    samples: Mapping[str, np.ndarray]
    folder: Path


def warn_of_seen(entries: Sequence[EntrantScores]) -> str:
    """Returns a warning that names the entrants that were trained on images of this dataset; "" if
    there are none."""
    warnings = [
        f"{entry.name} was trained on {entry.seen} of these {entry.images} images"
        for entry in entries
        if entry.seen
    ]
    return f"Warning: {'; '.join(warnings)}." if warnings else ""


def read_entrant_scores(folder: Path) -> EntrantScores:
    """Reads the scores that `scoring.score` wrote into a folder.

    Raises:
        FileNotFoundError: the folder contains no scores.
    """
    record = json.loads((folder / SCORES).read_text())
    with np.load(folder / SAMPLES) as file:
        samples = {name: file[name] for name in file.files}
    scores = {
        metric: interval(math.nan if value is None else value, samples[metric])
        for metric, value in record["scores"].items()
    }
    names = ("name", "dataset", "images", "modalities", "seen", "cost")
    fields = {name: record[name] for name in names}
    return EntrantScores(**fields, scores=scores, samples=samples, folder=folder)


@dataclass(frozen=True)
class Difference:
    """Difference of a score between two entrants on the same images.

    Args:
        dataset, metric: names of the dataset and of the metric.
        first, second: names of the entrants.
        points: score of the first minus score of the second, in percentage points, with an interval
            from the same draws of images.
    """

    dataset: str
    metric: str
    first: str
    second: str
    points: Interval

    @property
    def is_clear(self) -> bool:
        """Whether the interval excludes 0."""
        return self.points.low > 0 or self.points.high < 0


def differences(entries: list[EntrantScores]) -> list[Difference]:
    """Computes the differences between every two entrants on the same dataset, in the order of the
    entries."""
    results = []
    for first, second in itertools.combinations(entries, 2):
        if first.dataset != second.dataset:
            continue
        for metric in COMPARED:
            value = first.scores[metric].value - second.scores[metric].value
            samples = first.samples[metric] - second.samples[metric]
            points = interval(value, samples)
            results.append(Difference(first.dataset, metric, first.name, second.name, points))
    return results
