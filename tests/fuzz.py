"""Fuzzes every reader with mutated files: `make fuzz`, or

    python -m tests.fuzz --minutes 30

A reader must either read a file or raise ValueError or OSError. Another exception, a crash, more
than 20 seconds and more than 1.5 GB are faults. Files that cause a fault are written to --output.
"""

import argparse
import io
import json
import multiprocessing
import os
import random
import resource
import shutil
import struct
import sys
import tempfile
import time
import traceback
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import roifile
import tifffile
import torch
import yaml
from safetensors.torch import save as save_tensors
from scipy.io import savemat

from dsb2018.checkpoint import NucleiCheckpointer
from dsb2018.config import read_config
from dsb2018.data.catalog import load_dataset
from dsb2018.images import open_images
from dsb2018.inference.export.run_records import read_record
from dsb2018.inference.tiling.cache import TileCache, read_tile
from dsb2018.inference.tiling.stitching import TileNucleus
from dsb2018.io.arrays import read_array
from dsb2018.prepare import Options, prepare
from dsb2018.prepare.forms.label_files import read_label_pixels, split_labels
from dsb2018.prepare.forms.outline_files import (
    fill_areas,
    read_class_names,
    read_geojson,
    read_rois,
)
from dsb2018.prepare.png_files import png_size, read_mask
from dsb2018.prepare.sample import draw_image
from dsb2018.prepare.solution import Solution
from dsb2018.prepare.splits import read_image_info, read_splits
from dsb2018.structures.contrast import find_range
from dsb2018.structures.ground_truth import read_label_layers
from dsb2018.structures.masks import crop_mask, encode

MAX_SECONDS, MAX_BYTES = 20, 1_500_000_000
REFUSALS = (ValueError, OSError)
WINDOW = 512  # height and width of the part of an image that is read, pixels
BOUNDARY_VALUES = (0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFFF)


def mutate(data: bytes, rng: random.Random) -> bytes:
    """Returns the data with one to four random changes."""
    content = bytearray(data)
    for _ in range(rng.randint(1, 4)):
        position, length = rng.randrange(len(content) + 1), rng.randint(1, 64)
        if rng.random() < 0.5:  # headers and directories are at the beginning or the end
            position = rng.choice((position % 300, max(0, len(content) - 1 - position % 300)))
        mutation = rng.randrange(6)
        if mutation == 0:
            content[position : position + 1] = bytes([rng.randrange(256)])
        elif mutation == 1:
            number = rng.choice(BOUNDARY_VALUES).to_bytes(4, rng.choice(("little", "big")))
            content[position : position + 4] = number
        elif mutation == 2:
            del content[position : position + length]
        elif mutation == 3:
            content[position:position] = rng.randbytes(length)
        elif mutation == 4:
            content[position:position] = content[position : position + length]
        else:
            del content[position:]
    return bytes(content)


def correct_checksums(data: bytes) -> bytes:
    """Returns a PNG file with correct checksums, so that it passes this check of a reader."""
    content, start = bytearray(data), 8
    while start + 12 <= len(content):
        (length,) = struct.unpack_from(">I", content, start)
        end = start + 8 + length
        if end + 4 > len(content):
            break
        content[end : end + 4] = struct.pack(">I", zlib.crc32(content[start + 4 : end]))
        start = end + 4
    return bytes(content)


def mutated_file(name: str, content: bytes, seed: int) -> bytes:
    """Returns the mutated file of a seed. PNG files of odd seeds have correct checksums."""
    data = mutate(content, random.Random(f"{name} {seed}"))
    return correct_checksums(data) if READERS[name][0] == ".png" and seed % 2 else data


def synthetic_image() -> tuple[np.ndarray, list[np.ndarray]]:
    """Returns an image, (256, 256, 4) uint8, and its masks, each (256, 256) bool."""
    return draw_image("fluorescence", np.random.default_rng(0))


def image_file(extension: str) -> bytes:
    pixels = np.ascontiguousarray(synthetic_image()[0][..., :3])
    return cv2.imencode(extension, pixels)[1].tobytes()


def pgm_file() -> bytes:
    return cv2.imencode(".pgm", synthetic_image()[0][..., 0])[1].tobytes()


def tiff_file(stack: bool = False, **options) -> bytes:
    pixels = synthetic_image()[0][..., 0]
    return saved(tifffile.imwrite, np.stack([pixels] * 3) if stack else pixels, **options)


def mask_file() -> bytes:
    return cv2.imencode(".png", synthetic_image()[1][0] * np.uint8(255))[1].tobytes()


def saved(write: Callable, *arguments, **options) -> bytes:
    """Returns what a function writes to a file, its first argument."""
    file = io.BytesIO()
    write(file, *arguments, **options)
    return file.getvalue()


def coco_file() -> bytes:
    masks = synthetic_image()[1]
    image = {"id": 1, "dsb_id": "a", "file_name": "a.png", "label_file": "labels/a.npy"}
    annotations = [
        {
            "id": number,
            "image_id": 1,
            "category_id": 1,
            "iscrowd": 0,
            "area": int(mask.sum()),
            "bbox": list(cv2.boundingRect(mask.view(np.uint8))),
            "segmentation": encode(mask),
        }
        for number, mask in enumerate(masks[:6], start=1)
    ]
    content = {
        "info": {"image_root": ".", "has_truth": True},
        "images": [{**image, "height": 256, "width": 256}],
        "annotations": annotations,
    }
    return json.dumps(content).encode()


def label_file(extension: str) -> bytes:
    labels = np.zeros((256, 256), np.uint16)
    for number, mask in enumerate(synthetic_image()[1], start=1):
        labels[mask] = number
    if extension == ".mat":
        return saved(savemat, {"inst_map": labels})
    return saved(tifffile.imwrite, labels) if extension == ".tif" else saved(np.save, labels)


def roi_archive() -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for number, mask in enumerate(synthetic_image()[1][:4]):
            points = np.argwhere(mask)[:3, ::-1]
            archive.writestr(f"{number}.roi", roifile.ImagejRoi.frompoints(points).tobytes())
    return file.getvalue()


def polygon_file() -> bytes:
    content = json.loads(coco_file())
    for annotation in content["annotations"]:
        x, y, w, h = annotation["bbox"]
        annotation["segmentation"] = [[x, y, x + w, y, x + w, y + h, x, y + h]]
    return json.dumps(content).encode()


def geojson_file() -> bytes:
    rings = [[[1, 1], [9, 1], [9, 9], [1, 1]]]
    properties = {"objectType": "cell", "classification": {"names": ["Tumor", "Positive"]}}
    feature = {"type": "Feature", "properties": properties}
    outlines = [{"type": "Polygon", "coordinates": rings}]
    outlines += [{"type": "MultiPolygon", "coordinates": [rings]}]
    features = [{**feature, "geometry": outline} for outline in outlines]
    return json.dumps({"type": "FeatureCollection", "features": features}).encode()


def zip_archive() -> bytes:
    image, masks = synthetic_image()
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a/images/a.png", cv2.imencode(".png", image)[1].tobytes())
        for number, mask in enumerate(masks[:3]):
            png = cv2.imencode(".png", mask.astype(np.uint8) * 255)[1].tobytes()
            archive.writestr(f"a/masks/{number}.png", png)
    return file.getvalue()


def tile_file() -> bytes:
    crops = [crop_mask(mask) for mask in synthetic_image()[1]]
    with tempfile.TemporaryDirectory() as folder:
        cache = TileCache(Path(folder) / "tiles", "a")
        cache.keep(0, lambda: [TileNucleus(crop, 0.5, 0, False) for crop in crops])
        return next(Path(folder).rglob("*.npz")).read_bytes()


def read_image_file(path: Path) -> None:
    for image in open_images("x", path):
        if image.depth is not None:
            image = image.at(Z=0)
        channel_axis = next((axis for axis in image.axes if axis in "CS"), None)
        if channel_axis and channel_axis not in image.fixed:
            image = image.at(**{channel_axis: 0})  # a file may have thousands of channels
        size = [min(WINDOW, edge) for edge in image.size]
        window = image.read(0, 0, *size)
        find_range([window], 0.1)


def read_mask_file(path: Path) -> None:
    data = path.read_bytes()
    png_size(data, str(path))
    read_mask(data, str(path), 256, 256)


def read_coco_file(path: Path) -> None:
    for dataset_dict in load_dataset(path):
        dataset_dict.pop("label_file")  # so that the RLEs are decoded
        read_label_layers(dataset_dict)


def read_labels_file(path: Path) -> None:
    split_labels(read_label_pixels(path, (256, 256)), None)


def read_roi_file(path: Path) -> None:
    fill_areas(read_rois(path, []), 256, 256, [])


def read_geojson_file(path: Path) -> None:
    read_class_names(path.read_bytes())
    fill_areas(read_geojson(path.read_bytes(), (), []), 256, 256, [])


def prepare_archive(path: Path) -> None:
    with tempfile.TemporaryDirectory() as folder:
        prepare(Options(path, folder, name="x", workers=1, progress=False, skip_bad=True))


SOLUTION = b"ImageId,EncodedPixels,Height,Width,Usage\na,1 3 30 4,256,256,Public\nb,,9,9,Ignored\n"
SPLIT = b"a\nb optional\n# c\n"
MODALITY = b"image_id,modality,group\na,fluorescence,1\nb,histology,2\n"
# name → file extension, function that returns a valid file, function that reads a file
READERS: dict[str, tuple[str, Callable[[], bytes], Callable[[Path], object]]] = {
    "PNG": (".png", lambda: image_file(".png"), read_image_file),
    "JPEG": (".jpg", lambda: image_file(".jpg"), read_image_file),
    "BMP": (".bmp", lambda: image_file(".bmp"), read_image_file),
    "WebP": (".webp", lambda: image_file(".webp"), read_image_file),
    "PGM": (".pgm", pgm_file, read_image_file),
    "TIFF": (".tif", lambda: tiff_file(compression="zlib"), read_image_file),
    "TIFF in tiles": (".tif", lambda: tiff_file(tile=(64, 64), compression="lzw"), read_image_file),
    "OME-TIFF": (".ome.tif", lambda: tiff_file(stack=True, ome=True), read_image_file),
    "ImageJ's TIFF": (".tif", lambda: tiff_file(stack=True, imagej=True), read_image_file),
    "NumPy image": (".npy", lambda: saved(np.save, synthetic_image()[0][..., 0]), read_image_file),
    "label TIFF": (".tif", lambda: label_file(".tif"), read_labels_file),
    "label array": (".npy", lambda: label_file(".npy"), read_labels_file),
    "label MATLAB": (".mat", lambda: label_file(".mat"), read_labels_file),
    "ROIs": (".zip", roi_archive, read_roi_file),
    "GeoJSON": (".geojson", geojson_file, read_geojson_file),
    "COCO polygons": (".json", polygon_file, read_coco_file),
    "mask": (".png", mask_file, read_mask_file),
    "archive": (".zip", zip_archive, prepare_archive),
    "solution": (".csv", lambda: SOLUTION, lambda path: Solution(path).crops("a", 256, 256)),
    "modality": (".csv", lambda: MODALITY, read_image_info),
    "splits": (".txt", lambda: SPLIT, lambda path: read_splits(path.parent, {"a"})),
    "COCO": (".json", coco_file, read_coco_file),
    "labels": (".npy", lambda: saved(np.save, np.zeros((2, 9, 9), np.uint8)), read_array),
    "tile": (".npz", tile_file, read_tile),
    "record": (".json", lambda: b'{"fingerprint": "a", "images": [], "stacks": []}', read_record),
    "config": (
        ".yaml",
        lambda: yaml.safe_dump({"SOLVER": {"BASE_LR": 0.1, "STEPS": [1, 2]}, "SEED": 3}).encode(),
        lambda path: read_config(str(path)),
    ),
    "weights, safetensors": (
        ".safetensors",
        lambda: save_tensors({"a": torch.zeros(3, 4)}),
        lambda path: NucleiCheckpointer(torch.nn.Linear(1, 1)).load(str(path)),
    ),
    "weights, torch": (
        ".pth",
        lambda: saved(lambda file: torch.save({"model": {"a": torch.zeros(3)}}, file)),
        lambda path: NucleiCheckpointer(torch.nn.Linear(1, 1)).load(str(path)),
    ),
}


def run_reader(name: str, seed: int, seconds: float, folder: Path, state, results) -> None:
    """Mutates and reads files until the time is over. Runs in a process of its own.

    Args:
        name: key of `READERS`.
        seed: of the first file; the seed of each further file is one higher.
        seconds: duration.
        folder: for the mutated file.
        state: shared with the main process: seed of the current file, and its start time.
        results: queue for (outcome, seed, message).
    """
    extension, make, read = READERS[name]
    content, end = make(), time.monotonic() + seconds
    torch.set_num_threads(1)
    null = os.open(os.devnull, os.O_WRONLY)
    for stream in (1, 2):  # silences the warnings of decoders, also those from C
        os.dup2(null, stream)
    while time.monotonic() < end:
        path = folder / f"x{extension}"
        path.write_bytes(mutated_file(name, content, seed))
        state[:] = seed, time.time()
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        outcome, message = "read", ""
        try:
            read(path)
        except REFUSALS:
            outcome = "refused"
        except BaseException as error:  # noqa: BLE001 any other exception is a fault
            outcome, message = "fault", "".join(traceback.format_exception(error)[-3:])
        if 1024 * (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) > MAX_BYTES:
            outcome, message = "fault", "more than 1.5 GB"
        results.put((outcome, seed, message))
        seed += 1
    results.put(("end", seed, ""))


def fuzz_reader(name: str, first_seed: int, seconds: float, output: Path) -> Counter:
    """Fuzzes one reader and returns the number of files by outcome.

    After a crash or timeout, a new process continues with the next file.
    """
    counts: Counter[str] = Counter()
    end, seed = time.monotonic() + seconds, first_seed
    context = multiprocessing.get_context("fork")
    while (remaining := end - time.monotonic()) > 0:
        results, state = context.SimpleQueue(), context.Array("d", [seed, time.time()])
        with tempfile.TemporaryDirectory() as folder:
            arguments = (name, seed, remaining, Path(folder), state, results)
            process = context.Process(target=run_reader, args=arguments)
            process.start()
            finished = watch(process, state, results, counts, output, name)
            process.kill()
            process.join()
        seed = int(state[0]) + 1
        if finished:
            break
    return counts


def watch(process, state, results, counts: Counter, output: Path, name: str) -> bool:
    """Counts results until the process ends; returns whether it ended without crash or timeout."""
    while True:
        while not results.empty():
            outcome, seed, message = results.get()
            if outcome == "end":
                return True
            counts[outcome] += 1
            if outcome == "fault":
                report_fault(name, seed, message, output)
        if not process.is_alive() and results.empty():
            message = f"the process ended with exit status {process.exitcode}"
        elif time.time() - state[1] > MAX_SECONDS:
            message = f"more than {MAX_SECONDS} seconds"
        else:
            time.sleep(0.01)
            continue
        counts["fault"] += 1
        report_fault(name, int(state[0]), message, output)
        return False


def report_fault(name: str, seed: int, message: str, output: Path) -> None:
    """Writes the file that caused a fault, and prints the message."""
    extension, make, _ = READERS[name]
    output.mkdir(parents=True, exist_ok=True)
    path = output / f"{name.replace(' ', '_')}-{seed}{extension}"
    path.write_bytes(mutated_file(name, make(), seed))
    print(f"FAULT {name} {path}\n{message}", flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--minutes", type=float, default=5, help="duration, all readers together")
    parser.add_argument("--seed", type=int, default=0, help="seed of the first file")
    parser.add_argument(
        "--output", type=Path, default=Path("output/fuzz"), help="folder for files with faults"
    )
    parser.add_argument(
        "--only", nargs="+", choices=READERS, default=list(READERS), metavar="NAME", help="readers"
    )
    args = parser.parse_args()
    shutil.rmtree(args.output, ignore_errors=True)
    total: Counter[str] = Counter()
    print(f"{'reader':24}{'files':>9}{'read':>9}{'refused':>9}{'faults':>9}")
    for name in args.only:
        counts = fuzz_reader(name, args.seed, 60 * args.minutes / len(args.only), args.output)
        total.update(counts)
        print_counts(name, counts)
    print_counts("total", total)
    return 1 if total["fault"] else 0


def print_counts(name: str, counts: Counter) -> None:
    columns = (counts[outcome] for outcome in ("read", "refused", "fault"))
    print(f"{name:24}{counts.total():9}" + "".join(f"{n:9}" for n in columns), flush=True)


if __name__ == "__main__":
    sys.exit(main())
