"""What is wrong with each nucleus: missed, split, merged, or false.

Shapes: T true and P predicted nuclei of one image, in the order of their labels.
"""

from dataclasses import dataclass

import numpy as np

from dsb2018.evaluation.matching import iou_matrix, match, overlap_table

FOUND, MISSED, FALSE, SPLIT, MERGED = KINDS = ("found", "missed", "false", "split", "merged")


@dataclass(frozen=True)
class Mistakes:
    """The kinds of an image's nuclei.

    A nucleus is found where it has a match of IoU 0.5 or more. A prediction that holds more than
    half of each of several true nuclei merges them. A true nucleus that holds more than half of
    each of several predictions is split. What else has no match is missed, or false.

    Args:
        true_labels: (T,) labels of the true nuclei.
        true_kinds: (T,) each found, missed, split or merged.
        predicted_labels: (P,) labels of the predicted nuclei.
        predicted_kinds: (P,) each found, false, split (a part of one) or merged (it joins some).
    """

    true_labels: np.ndarray
    true_kinds: np.ndarray
    predicted_labels: np.ndarray
    predicted_kinds: np.ndarray

    def count(self) -> dict[str, int]:
        """Numbers of true nuclei by kind, and of false predictions."""
        kinds = [*self.true_kinds, *self.predicted_kinds[self.predicted_kinds == FALSE]]
        return {kind: kinds.count(kind) for kind in KINDS}


def find_mistakes(truth: np.ndarray, predicted: np.ndarray) -> Mistakes:
    """Says of each nucleus what is wrong with it; arguments and errors as in `overlap_table`."""
    table, true_areas, areas = overlap_table(truth, predicted)
    iou = iou_matrix(table, true_areas, areas)
    true_found, found = match(iou, iou >= 0.5)
    swallowed = 2 * table > true_areas[:, None]  # the truth lies in the prediction, mostly
    part = 2 * table > areas[None]  # the prediction lies in the truth, mostly
    merged = swallowed.sum(axis=0) > 1
    split = part.sum(axis=1) > 1

    true_kinds = np.full(len(true_areas), MISSED, dtype="<U6")
    true_kinds[split] = SPLIT
    true_kinds[(swallowed & merged[None]).any(axis=1)] = MERGED
    true_kinds[true_found] = FOUND
    kinds = np.full(len(areas), FALSE, dtype="<U6")
    kinds[(part & split[:, None]).any(axis=0)] = SPLIT
    kinds[merged] = MERGED
    kinds[found] = FOUND
    return Mistakes(_labels(truth), true_kinds, _labels(predicted), kinds)


def _labels(labels: np.ndarray) -> np.ndarray:
    present = np.unique(labels)
    return present[present > 0]
