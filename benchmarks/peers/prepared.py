"""Prepared datasets as arrays, for tools that do not use Detectron2. Needs NumPy and OpenCV."""

import json
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np


class Image(NamedTuple):
    """An image and its nuclei.

    Args:
        name: of the image; label images are named after it.
        grey: (H, W) uint8.
        labels: (H, W) integer, 0 is background.
    """

    name: str
    grey: np.ndarray
    labels: np.ndarray


def read_dataset(root: str, name: str) -> list[Image]:
    """All images of a dataset that tools/prepare_dsb2018.py has prepared."""
    coco = json.loads((Path(root) / "annotations" / f"{name}.json").read_text())
    folder = Path(root) / coco["info"]["image_root"]
    images = []
    for item in coco["images"]:
        layers = np.load(Path(root) / item["label_file"])
        labels = layers.max(axis=0)  # nuclei that overlap: the later one
        grey = cv2.imread(str(folder / item["file_name"]), cv2.IMREAD_GRAYSCALE)
        images.append(Image(item["dsb_id"], grey, labels.astype(np.int32)))
    return images


def write_labels(folder: Path, name: str, labels: np.ndarray) -> None:
    """A label image as tools/benchmark.py reads it."""
    folder.mkdir(parents=True, exist_ok=True)
    np.save(folder / f"{name}.npy", labels.astype(np.int32))
