"""How sure a score is: what it might have been with other images of the same kind.

The bootstrap of Efron and Tibshirani, An Introduction to the Bootstrap (1993): images are drawn
from the dataset with replacement, as many as it has, again and again, and everything is scored anew
each time. The draws are the same for all models, so that differences between two are paired.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from dsb2018.evaluation.coco_evaluator import CocoMatches
from dsb2018.evaluation.metrics import compute_scores
from dsb2018.evaluation.nuclei_evaluator import ImageCounts

ROUNDS = 1000
CONFIDENCE = 95  # percent of the draws that lie within an interval


class Interval(NamedTuple):
    """A number and the bounds between which it lies, as far as the images tell."""

    value: float
    low: float
    high: float


def draw_images(count: int, rounds: int = ROUNDS, seed: int = 0) -> np.ndarray:
    """(rounds, count) positions of images, drawn with replacement; always the same ones."""
    return np.random.default_rng(seed).integers(0, count, (rounds, count))


def score_images(
    images: Sequence[ImageCounts], coco: CocoMatches | None, chosen: Sequence[int]
) -> dict[str, float]:
    """All scores of some images, in percent; NaN where there is nothing to divide by.

    Args:
        images: in the order of their ids.
        coco: matches of the same images; None: there is no ranking, so no COCO AP.
        chosen: positions of images, each as often as it is to count.

    Returns:
        {"task/metric": score}, the tasks "sem_seg", "nuclei" and "segm".
    """
    some = [images[index] for index in chosen]
    tasks = {
        "sem_seg": compute_scores("sem_seg", [image.pixels for image in some]),
        "nuclei": compute_scores("nuclei", [image.counts for image in some]),
        "segm": coco.scores(chosen) if coco and some else {},
    }
    return {f"{task}/{name}": value for task, own in tasks.items() for name, value in own.items()}


def sample_scores(
    images: Sequence[ImageCounts],
    coco: CocoMatches | None,
    groups: Mapping[str, Sequence[int]],
    draws: np.ndarray,
) -> dict[str, np.ndarray]:
    """The scores of each draw.

    Args:
        images, coco: see `score_images`.
        groups: name of a group of images and the positions of these; its scores have the name
            behind a slash, those of the group "" have none.
        draws: see `draw_images`.

    Returns:
        {"task/metric/group": (rounds,) float32 scores, NaN where a draw has no image of the group}.
    """
    rows = []
    for draw in draws:
        row = {}
        for group, members in groups.items():
            chosen = draw if group == "" else draw[np.isin(draw, members)]
            suffix = f"/{group}" if group else ""
            found = score_images(images, coco, chosen)
            row.update({f"{name}{suffix}": value for name, value in found.items()})
        rows.append(row)
    names = dict.fromkeys(name for row in rows for name in row)
    return {name: np.array([row.get(name, np.nan) for row in rows], np.float32) for name in names}


def interval(value: float, samples: np.ndarray) -> Interval:
    """The percentile interval of a score, or of a difference of scores.

    Args:
        value: of the images as they are.
        samples: (rounds,) of the draws; those that are NaN are left out.
    """
    samples = samples[~np.isnan(samples)]
    if not len(samples):
        return Interval(value, float("nan"), float("nan"))
    rest = (100 - CONFIDENCE) / 2
    low, high = np.percentile(samples, [rest, 100 - rest])
    return Interval(value, float(low), float(high))
