"""Functions that train_cellpose.py and train_stardist.py share; needs only NumPy and OpenCV."""

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
        name: image id, and file name of the label image.
        gray: (H, W) uint8.
        labels: (H, W) int32, 0 is background.
    """

    name: str
    gray: np.ndarray
    labels: np.ndarray


def argument_parser(description: str) -> argparse.ArgumentParser:
    """Returns a parser with the arguments of both scripts."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--root", required=True, help="prepared root")
    parser.add_argument("--train", default="dsb2018_stardist_train", help="training dataset")
    parser.add_argument("--test", default="dsb2018_stardist_test", help="test dataset")
    parser.add_argument("--minutes", type=float, required=True, help="duration of the training")
    parser.add_argument("--output", type=Path, required=True, help="folder for the results")
    return parser


def read_dataset(root: str, name: str) -> list[Image]:
    """Reads all images of a prepared dataset (tools/prepare_dsb2018.py)."""
    coco = json.loads((Path(root) / "annotations" / f"{name}.json").read_text())
    folder = Path(root) / coco["info"]["image_root"]
    images = []
    for item in coco["images"]:
        layers = np.load(Path(root) / item["label_file"])
        labels = layers.max(axis=0)  # where nuclei overlap, the later one wins
        gray = cv2.imread(str(folder / item["file_name"]), cv2.IMREAD_GRAYSCALE)
        images.append(Image(item["dsb_id"], gray, labels.astype(np.int32)))
    return images


def write_results(
    args: argparse.Namespace, segment: Callable[[np.ndarray], np.ndarray], parameters: int
) -> None:
    """Segments the test images; writes label images and `cost.json` for tools/benchmark.py.

    Args:
        args: see `argument_parser`.
        segment: from an image, (H, W) uint8, to its labels, (H, W) integers.
        parameters: number of parameters of the network.
    """
    folder = args.output / "labels"
    folder.mkdir(parents=True, exist_ok=True)
    images = read_dataset(args.root, args.test)
    segment(images[0].gray)  # warm-up
    seconds = 0.0
    for image in images:
        start = time.perf_counter()
        labels = segment(image.gray)
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
