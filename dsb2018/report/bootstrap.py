"""Confidence intervals of scores, computed with the percentile bootstrap.

Each draw takes as many images as the dataset has, with replacement, and all scores are computed
again for it (Efron and Tibshirani, An Introduction to the Bootstrap, 1993). All models are scored
on the same draws, so the differences between two models are paired.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from dsb2018.evaluation.coco_evaluator import CocoMatches
from dsb2018.evaluation.nuclei_evaluator import ImageCounts, score_tasks
from dsb2018.pages.interval import Interval

ROUNDS = 1000
CONFIDENCE = 95  # percent of the draws that lie within an interval


def draw_images(count: int, rounds: int = ROUNDS, seed: int = 0) -> np.ndarray:
    """Returns (rounds, count) indices of images, drawn with replacement.

    The same arguments always give the same draws.
    """
    return np.random.default_rng(seed).integers(0, count, (rounds, count))


def score_images(
    images: Sequence[ImageCounts], coco: CocoMatches | None, indices: Sequence[int]
) -> dict[str, float]:
    """Computes all scores of a selection of images.

    Args:
        images: counts of each image, in the order of the image ids.
        coco: COCO matches of the same images; None omits COCO AP, which needs confidence scores.
        indices: indices of the selected images. A repeated index counts its image several times.

    Returns:
        {"task/metric": score in percent, NaN if its denominator is 0}, the tasks "sem_seg",
        "nuclei" and "segm".
    """
    selection = [images[index] for index in indices]
    tasks = {
        **score_tasks(selection),
        "segm": coco.scores(indices) if coco and selection else {},
    }
    return {
        f"{task}/{name}": value for task, scores in tasks.items() for name, value in scores.items()
    }


def sample_scores(
    images: Sequence[ImageCounts],
    coco: CocoMatches | None,
    groups: Mapping[str, Sequence[int]],
    draws: np.ndarray,
) -> dict[str, np.ndarray]:
    """Computes the scores of each draw.

    Args:
        images, coco: see `score_images`.
        groups: {name of a group: indices of its images}. The name is appended to the names of the
            group's scores, after a slash; nothing is appended for the group "".
        draws: see `draw_images`.

    Returns:
        {"task/metric/group": (rounds,) float32 scores, NaN if a draw has no image of the group}.
    """
    rows = []
    for draw in draws:
        row = {}
        for group, members in groups.items():
            indices = draw if group == "" else draw[np.isin(draw, members)]
            suffix = f"/{group}" if group else ""
            scores = score_images(images, coco, indices)
            row.update({f"{name}{suffix}": value for name, value in scores.items()})
        rows.append(row)
    names = dict.fromkeys(name for row in rows for name in row)
    return {name: np.array([row.get(name, np.nan) for row in rows], np.float32) for name in names}


def interval(value: float, samples: np.ndarray) -> Interval:
    """Returns the percentile interval of a score, or of a difference of scores.

    Args:
        value: score of the whole dataset.
        samples: (rounds,) scores of the draws; NaN values are ignored.

    Returns:
        The value and its bounds, which are NaN if all samples are NaN.
    """
    samples = samples[~np.isnan(samples)]
    if not len(samples):
        return Interval(value, float("nan"), float("nan"))
    tail = (100 - CONFIDENCE) / 2
    low, high = np.percentile(samples, [tail, 100 - tail])
    return Interval(value, float(low), float(high))
