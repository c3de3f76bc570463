"""Reads the ground truth of an image from a Detectron2 dataset dict."""

from collections.abc import Mapping

import numpy as np

from dsb2018.io.arrays import read_array
from dsb2018.structures.labels import stack_labels
from dsb2018.structures.masks import EMPTY
from dsb2018.structures.outlines import decode_segmentation


def has_ground_truth(dataset_dict: Mapping) -> bool:
    """Whether the true nuclei of an image are known. The image may be known to have none."""
    return "label_file" in dataset_dict or "annotations" in dataset_dict


def has_true_nuclei(dataset_dict: Mapping) -> bool:
    """Whether the single nuclei of an image are known, not only nuclei against background."""
    return has_ground_truth(dataset_dict) and not dataset_dict.get("foreground_only", False)


def read_label_layers(dataset_dict: Mapping) -> np.ndarray:
    """Reads the true nuclei of an image as label layers.

    A prepared dataset has a `label_file`. Other COCO datasets do not; their layers are painted from
    the polygons or RLEs in `annotations`. Crowd regions, which are several nuclei, are left out.

    Args:
        dataset_dict: a dict with `height` and `width`, and with `label_file` or `annotations`.

    Returns:
        (L, H, W) unsigned integer, 0 is background; each nucleus has one label in one layer. With
        `foreground_only` in the dict, all nuclei have the label 1.

    Raises:
        FileNotFoundError: the label file does not exist.
        ValueError: the label file is damaged or not of the image's size, a segmentation is invalid
            (see `decode_segmentation`), or the dict has no ground truth.
    """
    height, width = dataset_dict["height"], dataset_dict["width"]
    if "label_file" in dataset_dict:
        path = dataset_dict["label_file"]
        layers = read_array(path)
        if layers.ndim != 3 or layers.shape[1:] != (height, width) or layers.dtype.kind != "u":
            raise ValueError(
                f"{path}: {layers.dtype} labels of shape {layers.shape}, expected unsigned "
                f"integers of shape (layers, {height}, {width}); prepare the dataset again"
            )
        return layers
    if not has_ground_truth(dataset_dict):
        raise ValueError(
            f"{dataset_dict.get('file_name')}: no ground truth, expected label_file or annotations"
        )
    annotations = [item for item in dataset_dict["annotations"] if not item.get("iscrowd")]
    try:
        crops = [decode_segmentation(item["segmentation"], height, width) for item in annotations]
        return stack_labels([crop or EMPTY for crop in crops], height, width)[0]
    except ValueError as error:
        raise ValueError(f"{dataset_dict.get('file_name')}: {error}") from error
