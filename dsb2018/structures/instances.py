"""Converts between crops and Detectron2's `Instances`, which hold full-size masks."""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from detectron2.structures import BitMasks, Boxes, Instances

from dsb2018.structures.masks import EMPTY, Crop, crop_mask, paint_masks
from dsb2018.structures.nuclei import Detections, Prediction


def to_instances(detections: Detections, limit: int | None = None) -> Instances:
    """Converts detections to the output format of Detectron2's models.

    Args:
        detections: detections of an image of (H, W).
        limit: maximum number of instances, those with the highest scores; None: no limit.

    Returns:
        Instances on the CPU, in descending order of their scores: `pred_boxes` (float32 x0, y0, x1,
        y1), `scores` (float32, 0 to 1), `pred_classes` (int64, all 0) and `pred_masks` (N, H, W)
        bool.
    """
    order = np.argsort(-detections.scores, kind="stable")[:limit]
    crops = [detections.crops[index] for index in order]
    instances = Instances(detections.size)
    instances.pred_boxes = Boxes(torch.from_numpy(detections.corners()[order]))
    instances.scores = torch.from_numpy(detections.scores[order])
    instances.pred_classes = torch.zeros(len(order), dtype=torch.int64)
    instances.pred_masks = torch.from_numpy(paint_masks(crops, *detections.size))
    return instances


def from_instances(instances: Instances) -> Detections:
    """Converts the output of Detectron2's models to detections, the inverse of `to_instances`."""
    instances = instances.to("cpu")
    crops = [crop_mask(mask) or EMPTY for mask in instances.pred_masks.numpy()]
    scores, boxes = instances.scores.float(), instances.pred_boxes.tensor.float()
    return Detections(instances.image_size, crops, scores.numpy(), boxes.numpy())


def to_ground_truth(crops: Sequence[Crop], size: tuple[int, int]) -> Instances:
    """Converts true nuclei to the training input of Detectron2's models.

    Args:
        crops: the masks of the nuclei.
        size: (H, W) of the image, pixels.

    Returns:
        N instances with `gt_boxes` (float32 x0, y0, x1, y1, tight around the pixels), `gt_classes`
        (int64, all 0) and `gt_masks` (BitMasks of N × H × W).
    """
    boxes = [(crop.x, crop.y, crop.right, crop.bottom) for crop in crops]
    instances = Instances(size)
    instances.gt_boxes = Boxes(torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4))
    instances.gt_classes = torch.zeros(len(crops), dtype=torch.int64)
    instances.gt_masks = BitMasks(torch.from_numpy(paint_masks(crops, *size)))
    return instances


def read_output(output: Mapping | Prediction, score_thresh: float) -> Prediction:
    """Converts the output of a model for one image to a `Prediction`.

    Args:
        output: a dict of a Detectron2 model with `instances` and optionally `sem_seg`, (2, H, W)
            scores of background and nucleus. A `Prediction` is returned unchanged.
        score_thresh: minimum score of `Prediction.nuclei`, 0 to 1.
    """
    if isinstance(output, Prediction):
        return output
    detections = from_instances(output["instances"])
    nuclei = detections.without_overlaps(score_thresh)
    if "sem_seg" in output:
        background, nucleus = output["sem_seg"]  # comparison is 20 times faster than argmax
        return Prediction(detections, nuclei, (nucleus > background).cpu().numpy())
    return Prediction(detections, nuclei, nuclei.labels > 0)
