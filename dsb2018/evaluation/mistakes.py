"""Classifies the errors of a prediction: missed, false, split and merged nuclei.

Shapes: T is the number of true nuclei of an image, P that of predicted nuclei. Nuclei are sorted by
label.
"""

from dataclasses import dataclass

import numpy as np

from dsb2018.evaluation.matching import iou_matrix, match, overlap_table

FOUND, MISSED, FALSE, SPLIT, MERGED = KINDS = ("found", "missed", "false", "split", "merged")


@dataclass(frozen=True)
class Mistakes:
    """The kind of each true and each predicted nucleus of an image.

    A nucleus is found if it has a match with an IoU of 0.5 or more. If a predicted nucleus contains
    more than half of each of several true nuclei, it and these true nuclei are merged. If a true
    nucleus contains more than half of each of several predicted nuclei, it and these predicted
    nuclei are split. Other true nuclei are missed, and other predicted nuclei are false.

    Args:
        true_labels: (T,) labels of the true nuclei.
        true_kinds: (T,) found, missed, split or merged.
        predicted_labels: (P,) labels of the predicted nuclei.
        predicted_kinds: (P,) found, false, split (part of a split nucleus) or merged (contains
            several nuclei).
    """

    true_labels: np.ndarray
    true_kinds: np.ndarray
    predicted_labels: np.ndarray
    predicted_kinds: np.ndarray

    def count(self) -> dict[str, int]:
        """Counts the true nuclei by kind, and the false predicted nuclei."""
        kinds = [*self.true_kinds, *self.predicted_kinds[self.predicted_kinds == FALSE]]
        return {kind: kinds.count(kind) for kind in KINDS}


def find_mistakes(ground_truth: np.ndarray, predicted: np.ndarray) -> Mistakes:
    """Determines the kind of each nucleus. See `overlap_table` for arguments and errors."""
    table, true_areas, areas = overlap_table(ground_truth, predicted)
    iou = iou_matrix(table, true_areas, areas)
    true_matches, matches = match(iou, iou >= 0.5)
    covers = 2 * table > true_areas[:, None]  # the prediction has most of the true nucleus
    is_part = 2 * table > areas[None]  # the true nucleus has most of the prediction
    merges = covers.sum(axis=0) > 1
    is_split = is_part.sum(axis=1) > 1

    true_kinds = np.full(len(true_areas), MISSED, dtype="<U6")
    true_kinds[is_split] = SPLIT
    true_kinds[(covers & merges[None]).any(axis=1)] = MERGED
    true_kinds[true_matches] = FOUND
    kinds = np.full(len(areas), FALSE, dtype="<U6")
    kinds[(is_part & is_split[:, None]).any(axis=0)] = SPLIT
    kinds[merges] = MERGED
    kinds[matches] = FOUND
    return Mistakes(_nucleus_labels(ground_truth), true_kinds, _nucleus_labels(predicted), kinds)


def _nucleus_labels(labels: np.ndarray) -> np.ndarray:
    values = np.unique(labels)
    return values[values > 0]
