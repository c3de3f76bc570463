"""Between Detectron2's `Instances`, which hold a full mask for each nucleus, and crops."""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from detectron2.structures import BitMasks, Boxes, Instances

from dsb2018.structures.masks import EMPTY, Crop, crop_mask, paint_masks
from dsb2018.structures.nuclei import Detections, Prediction


def to_instances(detections: Detections, limit: int | None = None) -> Instances:
    """Detections as a Detectron2 model returns them.

    Args:
        detections: of an image of (H, W).
        limit: at most so many, those of the highest scores; None: all.

    Returns:
        Instances by falling score: `pred_boxes` (float32 x0, y0, x1, y1), `scores` (float32, 0 to
        1), `pred_classes` (int64, all 0) and `pred_masks` (N, H, W) bool, on the CPU.
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
    """The reverse of `to_instances`."""
    instances = instances.to("cpu")
    crops = [crop_mask(mask) or EMPTY for mask in instances.pred_masks.numpy()]
    scores, boxes = instances.scores.float(), instances.pred_boxes.tensor.float()
    return Detections(instances.image_size, crops, scores.numpy(), boxes.numpy())


def to_ground_truth(crops: Sequence[Crop], size: tuple[int, int]) -> Instances:
    """True nuclei as Detectron2's models take them in training.

    Returns:
        N instances with `gt_boxes` (float32 x0, y0, x1, y1 tight around the pixels), `gt_classes`
        (int64, all 0) and `gt_masks` (BitMasks of N × H × W).
    """
    boxes = [(crop.x, crop.y, crop.right, crop.bottom) for crop in crops]
    instances = Instances(size)
    instances.gt_boxes = Boxes(torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4))
    instances.gt_classes = torch.zeros(len(crops), dtype=torch.int64)
    instances.gt_masks = BitMasks(torch.from_numpy(paint_masks(crops, *size)))
    return instances


def read_output(output: Mapping | Prediction, score_thresh: float) -> Prediction:
    """A model's output for one image as a `Prediction`.

    Args:
        output: a dict as Detectron2's models return it: `instances` and, where the model has it,
            `sem_seg` (2, H, W), scores of background and nucleus. A `Prediction` is returned as it
            is.
        score_thresh: nuclei of a lower score do not count, 0 to 1.
    """
    if isinstance(output, Prediction):
        return output
    detections = from_instances(output["instances"])
    nuclei = detections.without_overlaps(score_thresh)
    if "sem_seg" in output:
        background, nucleus = output["sem_seg"]  # comparing is 20 times as fast as argmax
        return Prediction(detections, nuclei, (nucleus > background).cpu().numpy())
    return Prediction(detections, nuclei, nuclei.labels > 0)
