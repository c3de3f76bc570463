"""The truth of one image, from a dataset dict of Detectron2."""

from collections.abc import Mapping

import numpy as np

from dsb2018.io.arrays import read_array
from dsb2018.structures.labels import stack_rles


def has_ground_truth(dataset_dict: Mapping) -> bool:
    """Whether the nuclei of an image are known; an image known to have none counts too."""
    return "label_file" in dataset_dict or "annotations" in dataset_dict


def read_label_layers(dataset_dict: Mapping) -> np.ndarray:
    """The nuclei of one image as label layers.

    They are read from the `label_file` of a prepared dataset; a dict without one, as other COCO
    datasets give it, is painted from the RLEs of its `annotations`.

    Args:
        dataset_dict: with `height` and `width`, and `label_file` or `annotations`.

    Returns:
        (L, H, W) unsigned integer, 0 is background; each nucleus has one label in one layer.

    Raises:
        FileNotFoundError: the label file is missing.
        ValueError: a label file that is damaged or of another size than the image, a segmentation
            that is no RLE of the image's size, or a dict without any truth.
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
        raise ValueError(f"{dataset_dict.get('file_name')}: no truth is known of this image")
    rles = [annotation["segmentation"] for annotation in dataset_dict["annotations"]]
    if not all(isinstance(rle, dict) for rle in rles):
        raise ValueError(f"{dataset_dict.get('file_name')}: polygons, expected compressed RLE")
    try:
        return stack_rles(rles, height, width)
    except ValueError as error:
        raise ValueError(f"{dataset_dict.get('file_name')}: {error}") from error
