"""What training another tool on a prepared dataset has in common; needs NumPy and OpenCV alone."""

import argparse
import json
import resource
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np


class Image(NamedTuple):
    """An image and its nuclei.

    Args:
        name: of the image; label images are named after it.
        grey: (H, W) uint8.
        labels: (H, W) int32, 0 is background.
    """

    name: str
    grey: np.ndarray
    labels: np.ndarray


def argument_parser(description: str) -> argparse.ArgumentParser:
    """The arguments of every such script."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--root", required=True, help="prepared root")
    parser.add_argument("--train", default="dsb2018_stardist_train")
    parser.add_argument("--test", default="dsb2018_stardist_test")
    parser.add_argument("--minutes", type=float, required=True, help="of training")
    parser.add_argument("--output", type=Path, required=True)
    return parser


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


def write_results(
    args: argparse.Namespace, segment: Callable[[np.ndarray], np.ndarray], parameters: int
) -> None:
    """Segments the test images and writes `labels/` as tools/benchmark.py reads it.

    Args:
        args: see `argument_parser`.
        segment: (H, W) uint8 → (H, W) integer labels.
        parameters: of the network.
    """
    folder = args.output / "labels"
    folder.mkdir(parents=True, exist_ok=True)
    images = read_dataset(args.root, args.test)
    segment(images[0].grey)  # warms up
    seconds = 0.0
    for image in images:
        start = time.perf_counter()
        labels = segment(image.grey)
        seconds += time.perf_counter() - start
        np.save(folder / f"{image.name}.npy", labels.astype(np.int32))
    cost = {
        "seconds_per_image": seconds / len(images),
        "parameters": parameters,
        "trained_on": [args.train],
        "peak_memory": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
    }
    (folder / "cost.json").write_text(json.dumps(cost, indent=2) + "\n")
    print(json.dumps(cost))
