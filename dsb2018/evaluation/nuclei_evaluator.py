"""A Detectron2 evaluator of the semantic metrics and the nuclei metrics."""

import io
import math
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from detectron2.evaluation import DatasetEvaluator
from detectron2.utils import comm

from dsb2018.evaluation import matching, semantic
from dsb2018.evaluation.metrics import compute_scores
from dsb2018.io.csv_text import write_rows
from dsb2018.io.files import write_atomically
from dsb2018.io.names import image_name
from dsb2018.structures.ground_truth import (
    has_ground_truth,
    has_true_nuclei,
    read_label_layers,
)
from dsb2018.structures.instances import read_output


class ImageCounts(NamedTuple):
    """The counts of one image.

    Args:
        name: name of the image.
        modality: its modality; None: unknown.
        pixels: counts of pixels.
        counts: counts of nuclei; None if the ground truth does not tell nuclei from each other.
    """

    name: str
    modality: str | None
    pixels: semantic.Pixels
    counts: matching.Counts | None


class NucleiEvaluator(DatasetEvaluator):
    """Computes the scores of pixels and of nuclei, for all images and by modality.

    The counts of all processes are gathered before the scores are computed, and an image that
    several processes have evaluated counts once. The results are {"sem_seg": {…}, "nuclei": {…}} in
    percent. Scores of a modality end with its name, for example "mAP/histology". An image whose
    ground truth is only nuclei against background counts for the scores of pixels alone.
    """

    def __init__(
        self, score_thresh: float = 0.5, table: Path | None = None, distributed: bool = True
    ):
        """
        Args:
            score_thresh: minimum score of the nuclei of Detectron2's models, 0 to 1; see
                `read_output`.
            table: CSV file for the scores of each image; None: no file.
            distributed: whether to gather the counts of all processes.
        """
        self._score_thresh = score_thresh
        self._table = table
        self._distributed = distributed
        self.reset()

    def reset(self) -> None:
        """Removes all images."""
        self._images: dict = {}

    @property
    def images(self) -> list[ImageCounts]:
        """Counts of the images, sorted by image id; after `evaluate`, those of all processes."""
        return [self._images[key] for key in sorted(self._images)]

    def process(self, inputs: list[dict], outputs: list) -> None:
        """Adds a batch. Images without ground truth are skipped.

        Args:
            inputs: dataset dicts with `image_id`.
            outputs: a `Prediction` or the dict of a Detectron2 model for each input.
        """
        for sample, output in zip(inputs, outputs, strict=True):
            if not has_ground_truth(sample):
                continue
            ground_truth = read_label_layers(sample)
            prediction = read_output(output, self._score_thresh)
            self._images[sample["image_id"]] = ImageCounts(
                image_name(sample),
                sample.get("modality"),
                semantic.count_pixels(np.any(ground_truth > 0, axis=0), prediction.foreground),
                matching.compare(ground_truth, prediction.nuclei.labels)
                if has_true_nuclei(sample)
                else None,
            )

    def evaluate(self) -> dict[str, dict[str, float]] | None:
        """Returns the scores of all images.

        Returns:
            See the class. {} if no image has ground truth; None if this is not the main process.
        """
        parts = comm.gather(self._images) if self._distributed else [self._images]
        if self._distributed and not comm.is_main_process():
            return None
        self._images = {key: value for part in parts for key, value in part.items()}
        images = self.images
        if not images:
            return {}
        if self._table:
            write_atomically(self._table, image_table(images))
        results = _scores(images, "")
        for modality in sorted({image.modality for image in images if image.modality}):
            selected = [image for image in images if image.modality == modality]
            for task, values in _scores(selected, f"/{modality}").items():
                results[task].update(values)
        return results


def image_table(images: list[ImageCounts]) -> str:
    """Returns a CSV with a row for each image: name, modality, numbers of nuclei, and scores.

    Scores are in percent. Undefined scores are empty.
    """
    file = io.StringIO()
    rows: list[list] = []
    for image in images:
        scores = {
            name: score for task in score_tasks([image]).values() for name, score in task.items()
        }
        if not rows:
            rows.append(["image", "modality", "true", "predicted", *scores])
        numbers = ["" if math.isnan(score) else round(score, 4) for score in scores.values()]
        counts = (image.counts.true, image.counts.predicted) if image.counts else ("", "")
        rows.append([image.name, image.modality or "", *counts, *numbers])
    write_rows(file, rows)
    return file.getvalue()


def score_tasks(images: Sequence[ImageCounts]) -> dict[str, dict[str, float]]:
    """Computes all scores of pixels and of nuclei: {task: {metric: percent}}.

    The scores of nuclei are NaN if no image has counts of nuclei.
    """
    counts = [image.counts for image in images if image.counts is not None]
    return {
        "sem_seg": compute_scores("sem_seg", [image.pixels for image in images]),
        "nuclei": compute_scores("nuclei", counts),
    }


def _scores(images: list[ImageCounts], suffix: str) -> dict[str, dict[str, float]]:
    return {
        task: {f"{name}{suffix}": value for name, value in values.items()}
        for task, values in score_tasks(images).items()
    }
