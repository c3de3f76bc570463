"""Semantic and nuclei scores as a Detectron2 evaluator."""

import io
import math
from pathlib import Path
from typing import NamedTuple

import numpy as np
from detectron2.evaluation import DatasetEvaluator
from detectron2.structures import Instances
from detectron2.utils import comm

from dsb2018.csv_text import write_rows
from dsb2018.evaluation import matching, semantic
from dsb2018.files import write_atomically
from dsb2018.masks import crop_mask
from dsb2018.truth import has_truth, read_label_layers


class Image(NamedTuple):
    """What is counted in one image."""

    name: str
    modality: str | None
    pixels: semantic.Pixels
    counts: matching.Counts


class NucleiEvaluator(DatasetEvaluator):
    """Scores of models that give `sem_seg` and `instances`; each also by modality.

    Images are counted once, whatever the number of processes, and counts are gathered before
    anything is divided. Results: {"sem_seg": {…}, "nuclei": {…}} in percent; the score of one
    modality has its name behind a slash, as in "mAP/histology".
    """

    def __init__(self, score_thresh: float, table: Path | None = None, distributed: bool = True):
        """
        Args:
            score_thresh: instances below it are not counted as found, 0 to 1.
            table: CSV file for the scores of each image; None: not written.
            distributed: gather from all processes; False: this one alone.
        """
        self._score_thresh = score_thresh
        self._table = table
        self._distributed = distributed
        self.reset()

    def reset(self) -> None:
        """Forgets all images."""
        self._images: dict = {}

    @property
    def images(self) -> list[Image]:
        """What was counted, in the order of the image ids; after `evaluate` that of all
        processes."""
        return [self._images[key] for key in sorted(self._images)]

    def process(self, inputs: list[dict], outputs: list[dict]) -> None:
        """Adds a batch: dataset dicts, and the model's output for each. An image without truth
        is passed over."""
        for sample, output in zip(inputs, outputs, strict=True):
            if not has_truth(sample):
                continue
            truth = read_label_layers(sample)
            labels = instances_to_labels(output["instances"], self._score_thresh)
            background, nucleus = output["sem_seg"]  # comparing is 20 times as fast as argmax
            nuclei = (nucleus > background).cpu().numpy()
            self._images[sample["image_id"]] = Image(
                str(sample.get("dsb_id", sample["image_id"])),
                sample.get("modality"),
                semantic.count_pixels((truth > 0).any(axis=0), nuclei),
                matching.compare(truth, labels),
            )

    def evaluate(self) -> dict[str, dict[str, float]] | None:
        """The scores of all images, {} where none has a truth; None in other processes than the
        main one."""
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
            chosen = [image for image in images if image.modality == modality]
            for task, values in _scores(chosen, f"/{modality}").items():
                results[task].update(values)
        return results


def image_table(images: list[Image]) -> str:
    """CSV with a line for each image: its name and modality, numbers of nuclei, and its scores in
    percent, empty where there is nothing to divide by."""
    file, rows = io.StringIO(), []
    for image in images:
        scores = {**semantic.scores([image.pixels]), **matching.scores([image.counts])}
        if not rows:
            rows.append(["image", "modality", "true", "predicted", *scores])
        numbers = ["" if math.isnan(score) else round(score, 4) for score in scores.values()]
        counts = image.counts.true, image.counts.predicted
        rows.append([image.name, image.modality or "", *counts, *numbers])
    write_rows(file, rows)
    return file.getvalue()


def _scores(images: list[Image], suffix: str) -> dict[str, dict[str, float]]:
    both = {
        "sem_seg": semantic.scores([image.pixels for image in images]),
        "nuclei": matching.scores([image.counts for image in images]),
    }
    return {
        task: {f"{name}{suffix}": value for name, value in values.items()}
        for task, values in both.items()
    }


def instances_to_labels(instances: Instances, score_thresh: float) -> np.ndarray:
    """Paints predicted instances into one label image; where they overlap, the better one wins.

    An instance of which better ones hide more than half is their double and is left out.

    Args:
        instances: `scores` (N,) and `pred_masks` (N, H, W) bool.
        score_thresh: instances below it are left out, 0 to 1.

    Returns:
        (H, W) int32, 0 is background; labels rise as scores fall.
    """
    labels = np.zeros(instances.image_size, np.int32)
    scores = instances.scores.float().cpu().numpy()
    masks = instances.pred_masks.cpu().numpy()
    best_first = np.argsort(-scores, kind="stable")[: np.count_nonzero(scores >= score_thresh)]
    for label, index in enumerate(best_first, start=1):
        crop = crop_mask(masks[index])
        if crop is None:
            continue
        h, w = crop.mask.shape
        window = labels[crop.y : crop.y + h, crop.x : crop.x + w]
        visible = crop.mask & (window == 0)
        if 2 * np.count_nonzero(visible) >= crop.area:
            window[visible] = label
    return labels
