"""Preparation and loading of 16-bit TIFF images with label images, beside what they consist of."""

import copy
import subprocess
import sys
import tempfile
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import cv2
import numpy as np
import tifffile
import torch
from detectron2.data import DatasetCatalog

from benchmarks.loading import augmentations
from benchmarks.preparation import WORKERS
from benchmarks.timing import Row, best_times
from dsb2018.data import TrainingMapper, load_dataset
from dsb2018.images.pixels import read_dataset_image, read_pixels
from dsb2018.structures.ground_truth import read_label_layers
from dsb2018.structures.labels import flatten_labels


def write_labels(dataset_name: str, folder: Path) -> list[dict]:
    """Writes the images of a dataset as 16-bit TIFF, compressed by deflate, and label images as
    16-bit PNG, and returns their dataset dicts."""
    for name in ("images", "labels"):
        (folder / name).mkdir()
    items = DatasetCatalog.get(dataset_name)
    for number, item in enumerate(items):
        pixels = read_dataset_image(item).astype(np.uint16) * 200
        path = folder / "images" / f"{number:03d}.tif"
        tifffile.imwrite(path, pixels.squeeze(), compression="zlib")
        labels = flatten_labels(read_label_layers(item)).astype(np.uint16)
        cv2.imwrite(str(folder / "labels" / f"{number:03d}.png"), labels)
    return items


def decode(path: str) -> int:
    """Decodes a file; returns its number of values."""
    return read_pixels(path).size


def decode_all(paths: list[str]) -> int:
    """Decodes all files in `WORKERS` processes; returns the number of values."""
    with ProcessPoolExecutor(WORKERS) as pool:
        return sum(pool.map(decode, paths, chunksize=8))


def prepare(folder: Path, output: Path) -> None:
    """Runs `tools/prepare_dsb2018.py` on the folder."""
    command = [sys.executable, "tools/prepare_dsb2018.py", "--input", str(folder), "--quiet"]
    command += ["--name", "forms", "--output", str(output), "--workers", str(WORKERS)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def measure(dataset_name: str) -> list[Row]:
    """Returns the rows of the report."""
    with tempfile.TemporaryDirectory() as root:
        folder, output = Path(root) / "data", Path(root) / "prepared"
        folder.mkdir()
        png_items = write_labels(dataset_name, folder)
        paths = [str(path) for path in sorted(folder.glob("*/*"))]
        decoding, preparation = best_times(
            lambda: decode_all(paths), lambda: prepare(folder, output)
        )
        npy_items = load_dataset(output / "annotations" / "dsb2018_forms.json")
        tiff_items = [
            {**item, "file_name": str(folder / "images" / f"{item['dsb_id']}.tif")}
            for item in npy_items
        ]
        mapper = TrainingMapper(augmentations=augmentations(), image_format="RGB")
        torch.set_num_threads(1)  # as in a worker process of a data loader
        times = best_times(
            *(
                lambda items=items: [mapper(copy.deepcopy(item)) for item in items]
                for items in (png_items, npy_items, tiff_items)
            )
        )
    png, npy, tiff = (len(png_items) / time for time in times)
    return [
        Row(
            f"decoding {len(paths)} TIFF and label files in {WORKERS} processes",
            f"{decoding:.1f} s",
        ),
        Row("preparation of them, the whole command", f"{preparation:.1f} s"),
        Row("samples per second, original 8-bit PNG", f"{png:.0f}"),
        Row("samples per second, prepared 16-bit images", f"{npy:.0f}"),
        Row("samples per second, 16-bit TIFF without preparation", f"{tiff:.0f}"),
        Row("prepared 16-bit / 8-bit PNG", f"{npy / png:.2f}", "≥ 1"),
    ]
