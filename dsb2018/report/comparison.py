"""All entrants side by side: scores with intervals, and paired differences between them."""

import itertools
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dsb2018.evaluation.metrics import Show, shown
from dsb2018.report.bootstrap import Interval, interval
from dsb2018.report.scoring import SAMPLES, SCORES

COMPARED = tuple(shown(Show.DIFFERENCE))  # metrics, between every two entrants


@dataclass(frozen=True)
class EntrantScores:
    """One entrant on one dataset.

    Args:
        name: the entrant.
        dataset: the dataset.
        images: number of images.
        modalities: number of images of each modality.
        scores: by metric, "task/name" or "task/name/modality", percent.
        seen: number of the images that it was trained on.
        cost: `seconds_per_image`, `parameters` and `peak_memory` (bytes), where known.
        samples: of the bootstrap, by metric: (rounds,) percent.
        folder: where all of it comes from.
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
    """Says who was trained on images of this dataset; "" where nobody was."""
    told = [f"{each.name} was trained on {each.seen}" for each in entries if each.seen]
    if not told:
        return ""
    return f"Not a test for all: of these {entries[0].images} images {', '.join(told)}."


def read_entrant_scores(folder: Path) -> EntrantScores:
    """What `scoring.score` wrote.

    Raises:
        FileNotFoundError: the folder holds no scores.
    """
    record = json.loads((folder / SCORES).read_text())
    with np.load(folder / SAMPLES) as file:
        samples = {name: file[name] for name in file.files}
    scores = {
        metric: interval(math.nan if value is None else value, samples[metric])
        for metric, value in record["scores"].items()
    }
    kept = {key: record[key] for key in ("name", "dataset", "images", "modalities", "seen", "cost")}
    return EntrantScores(**kept, scores=scores, samples=samples, folder=folder)


@dataclass(frozen=True)
class Difference:
    """How much better one entrant is than another on the same images.

    Args:
        dataset, metric: on what.
        first, second: who.
        points: first minus second, in percentage points, of the same draws of images.
    """

    dataset: str
    metric: str
    first: str
    second: str
    points: Interval

    @property
    def is_clear(self) -> bool:
        """Whether the interval leaves no doubt about who is better."""
        return self.points.low > 0 or self.points.high < 0


def differences(entries: list[EntrantScores]) -> list[Difference]:
    """Between every two entrants on each dataset, in the order of the entries."""
    found = []
    for first, second in itertools.combinations(entries, 2):
        if first.dataset != second.dataset:
            continue
        for metric in COMPARED:
            value = first.scores[metric].value - second.scores[metric].value
            samples = first.samples[metric] - second.samples[metric]
            points = interval(value, samples)
            found.append(Difference(first.dataset, metric, first.name, second.name, points))
    return found
