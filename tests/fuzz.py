"""Mutates files and gives them to every reader: `make fuzz`, or

    python -m tests.fuzz --minutes 30

A reader may read a file or refuse it with ValueError or OSError. Anything else is a fault: another
exception, a crash, more than 20 seconds, or more than 1.5 GB. Files that cause one are kept in
--output.
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
import tifffile
import torch
import yaml
from safetensors.torch import save as save_tensors

from dsb2018.checkpoint import NucleiCheckpointer
from dsb2018.config import read_config
from dsb2018.data.catalog import load_dataset
from dsb2018.inference.export.run_records import read_record
from dsb2018.inference.readers import open_images
from dsb2018.inference.tiling.cache import TileCache, read_tile
from dsb2018.inference.tiling.stitching import TileNucleus
from dsb2018.io.arrays import read_array
from dsb2018.prepare import Options, prepare
from dsb2018.prepare.png_files import png_size, read_mask
from dsb2018.prepare.sample import draw_image
from dsb2018.prepare.solution import Solution
from dsb2018.prepare.splits import read_image_info, read_splits
from dsb2018.structures.contrast import find_range
from dsb2018.structures.ground_truth import read_label_layers
from dsb2018.structures.masks import crop_mask, encode

SECONDS, BYTES = 20, 1_500_000_000
REFUSALS = (ValueError, OSError)
WINDOW = 512  # pixels; of larger images a part is read
BOUNDARY = (0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFFF)


def mutate(data: bytes, chance: random.Random) -> bytes:
    """The file with one to four things changed."""
    content = bytearray(data)
    for _ in range(chance.randint(1, 4)):
        place, length = chance.randrange(len(content) + 1), chance.randint(1, 64)
        if chance.random() < 0.5:  # headers and directories are at the beginning or the end
            place = chance.choice((place % 300, max(0, len(content) - 1 - place % 300)))
        kind = chance.randrange(6)
        if kind == 0:
            content[place : place + 1] = bytes([chance.randrange(256)])
        elif kind == 1:
            number = chance.choice(BOUNDARY).to_bytes(4, chance.choice(("little", "big")))
            content[place : place + 4] = number
        elif kind == 2:
            del content[place : place + length]
        elif kind == 3:
            content[place:place] = chance.randbytes(length)
        elif kind == 4:
            content[place:place] = content[place : place + length]
        else:
            del content[place:]
    return bytes(content)


def mend_png(data: bytes) -> bytes:
    """The file with correct check sums, so that what is behind them is reached."""
    content, place = bytearray(data), 8
    while place + 12 <= len(content):
        (length,) = struct.unpack_from(">I", content, place)
        end = place + 8 + length
        if end + 4 > len(content):
            break
        content[end : end + 4] = struct.pack(">I", zlib.crc32(content[place + 4 : end]))
        place = end + 4
    return bytes(content)


def make_file(name: str, content: bytes, seed: int) -> bytes:
    """The mutated file of a seed; every second PNG with correct check sums."""
    data = mutate(content, random.Random(f"{name} {seed}"))
    return mend_png(data) if READERS[name][0] == ".png" and seed % 2 else data


def draw(seed: int = 0) -> tuple[np.ndarray, list[np.ndarray]]:
    """An image of (256, 256, 4) and its nuclei, (256, 256) bool each."""
    return draw_image("fluorescence", np.random.default_rng(seed))


def encoded(ending: str) -> bytes:
    return cv2.imencode(ending, np.ascontiguousarray(draw()[0][..., :3]))[1].tobytes()


def tiff(**options) -> bytes:
    file = io.BytesIO()
    pixels = draw()[0][..., 0]
    tifffile.imwrite(
        file, np.stack([pixels] * 3) if options.pop("stack", False) else pixels, **options
    )
    return file.getvalue()


def mask_file() -> bytes:
    return cv2.imencode(".png", draw()[1][0] * np.uint8(255))[1].tobytes()


def saved(write: Callable, *arguments) -> bytes:
    file = io.BytesIO()
    write(file, *arguments)
    return file.getvalue()


def coco() -> bytes:
    masks = draw()[1]
    image = {"id": 1, "dsb_id": "a", "file_name": "a.png", "label_file": "labels/a.npy"}
    annotations = [
        {
            **{
                "id": number,
                "image_id": 1,
                "category_id": 1,
                "iscrowd": 0,
                "area": int(mask.sum()),
            },
            **{"bbox": list(cv2.boundingRect(mask.view(np.uint8))), "segmentation": encode(mask)},
        }
        for number, mask in enumerate(masks[:6], start=1)
    ]
    content = {
        "info": {"image_root": ".", "has_truth": True},
        "images": [{**image, "height": 256, "width": 256}],
        "annotations": annotations,
    }
    return json.dumps(content).encode()


def archive() -> bytes:
    image, masks = draw()
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as content:
        content.writestr("a/images/a.png", cv2.imencode(".png", image)[1].tobytes())
        for number, mask in enumerate(masks[:3]):
            png = cv2.imencode(".png", mask.astype(np.uint8) * 255)[1].tobytes()
            content.writestr(f"a/masks/{number}.png", png)
    return file.getvalue()


def tile() -> bytes:
    crops = [crop_mask(mask) for mask in draw()[1]]
    with tempfile.TemporaryDirectory() as folder:
        store = TileCache(Path(folder) / "tiles", "a")
        store.keep(0, lambda: [TileNucleus(crop, 0.5, 0, False) for crop in crops])
        return next(Path(folder).rglob("*.npz")).read_bytes()


def read_picture(path: Path) -> None:
    for picture in open_images("x", path):
        shown = picture if picture.depth is None else picture.at(Z=0)
        channel = next((axis for axis in shown.axes if axis in "CS"), None)
        if channel and channel not in shown.fixed:
            shown = shown.at(**{channel: 0})  # a file may have thousands, of which one is chosen
        size = [min(WINDOW, edge) for edge in shown.size]
        window = shown.read(0, 0, *size)
        find_range([window], 0.1)


def read_mask_file(path: Path) -> None:
    data = path.read_bytes()
    png_size(data, str(path))
    read_mask(data, str(path), 256, 256)


def read_coco_file(path: Path) -> None:
    for item in load_dataset(path):
        item.pop("label_file")  # so that the run lengths are decoded
        read_label_layers(item)


def prepare_archive(path: Path) -> None:
    with tempfile.TemporaryDirectory() as folder:
        prepare(Options(path, folder, name="x", workers=1, progress=False, skip_bad=True))


SOLUTION = b"ImageId,EncodedPixels,Height,Width,Usage\na,1 3 30 4,256,256,Public\nb,,9,9,Ignored\n"
SPLIT = b"a\nb optional\n# c\n"
MODALITY = b"image_id,modality,group\na,fluorescence,1\nb,histology,2\n"
# name → file ending, content, reader
READERS: dict[str, tuple[str, Callable[[], bytes], Callable[[Path], object]]] = {
    "PNG": (".png", lambda: encoded(".png"), read_picture),
    "JPEG": (".jpg", lambda: encoded(".jpg"), read_picture),
    "BMP": (".bmp", lambda: encoded(".bmp"), read_picture),
    "WebP": (".webp", lambda: encoded(".webp"), read_picture),
    "PGM": (".pgm", lambda: cv2.imencode(".pgm", draw()[0][..., 0])[1].tobytes(), read_picture),
    "TIFF": (".tif", lambda: tiff(compression="zlib"), read_picture),
    "TIFF in tiles": (".tif", lambda: tiff(tile=(64, 64), compression="lzw"), read_picture),
    "OME-TIFF": (".ome.tif", lambda: tiff(stack=True, ome=True), read_picture),
    "ImageJ's TIFF": (".tif", lambda: tiff(stack=True, imagej=True), read_picture),
    "mask": (
        ".png",
        lambda: cv2.imencode(".png", draw()[1][0] * np.uint8(255))[1].tobytes(),
        read_mask_file,
    ),
    "archive": (".zip", archive, prepare_archive),
    "solution": (".csv", lambda: SOLUTION, lambda path: Solution(path).crops("a", 256, 256)),
    "modality": (".csv", lambda: MODALITY, read_image_info),
    "splits": (
        ".txt",
        lambda: b"a\nb optional\n# c\n",
        lambda path: read_splits(path.parent, {"a"}),
    ),
    "COCO": (".json", coco, read_coco_file),
    "labels": (".npy", lambda: saved(np.save, np.zeros((2, 9, 9), np.uint8)), read_array),
    "tile": (".npz", tile, read_tile),
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
    """In a process of its own: mutates and reads until the time is over.

    Args:
        name: of `READERS`.
        seed: of the first file.
        seconds: how long.
        folder: for the file.
        state: shared (seed of the file in hand, time when it was begun).
        results: queue for (outcome, seed, message).
    """
    ending, make, read = READERS[name]
    content, end = make(), time.monotonic() + seconds
    torch.set_num_threads(1)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in (1, 2):  # decoders warn a lot, also from C
        os.dup2(nowhere, stream)
    while time.monotonic() < end:
        path = folder / f"x{ending}"
        path.write_bytes(make_file(name, content, seed))
        state[:] = seed, time.time()
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        outcome, message = "read", ""
        try:
            read(path)
        except REFUSALS:
            outcome = "refused"
        except BaseException as error:  # noqa: BLE001 everything else is a fault
            outcome, message = "fault", "".join(traceback.format_exception(error)[-3:])
        if 1024 * (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) > BYTES:
            outcome, message = "fault", "more than 1.5 GB"
        results.put((outcome, seed, message))
        seed += 1
    results.put(("end", seed, ""))


def fuzz_reader(name: str, first: int, seconds: float, output: Path) -> Counter:
    """Counts outcomes of one reader; starts its process anew after a crash or a long wait."""
    counts: Counter[str] = Counter()
    end, seed = time.monotonic() + seconds, first
    context = multiprocessing.get_context("fork")
    while (left := end - time.monotonic()) > 0:
        results, state = context.SimpleQueue(), context.Array("d", [seed, time.time()])
        with tempfile.TemporaryDirectory() as folder:
            arguments = (name, seed, left, Path(folder), state, results)
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
    """Until the process ends; says whether it ended as it should."""
    while True:
        while not results.empty():
            outcome, seed, message = results.get()
            if outcome == "end":
                return True
            counts[outcome] += 1
            if outcome == "fault":
                keep(name, seed, message, output)
        if not process.is_alive() and results.empty():
            message = f"the process ended with {process.exitcode}"
        elif time.time() - state[1] > SECONDS:
            message = f"more than {SECONDS} seconds"
        else:
            time.sleep(0.01)
            continue
        counts["fault"] += 1
        keep(name, int(state[0]), message, output)
        return False


def keep(name: str, seed: int, message: str, output: Path) -> None:
    """Writes the file that caused a fault, and prints what it was."""
    ending, make, _ = READERS[name]
    output.mkdir(parents=True, exist_ok=True)
    path = output / f"{name.replace(' ', '_')}-{seed}{ending}"
    path.write_bytes(make_file(name, make(), seed))
    print(f"FAULT {name} {path}\n{message}", flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--minutes", type=float, default=5, help="for all readers together")
    parser.add_argument("--seed", type=int, default=0, help="of the first file")
    parser.add_argument("--output", type=Path, default=Path("output/fuzz"))
    parser.add_argument("--only", nargs="+", choices=READERS, default=list(READERS), metavar="NAME")
    args = parser.parse_args()
    shutil.rmtree(args.output, ignore_errors=True)
    total: Counter[str] = Counter()
    print(f"{'reader':24}{'files':>9}{'read':>9}{'refused':>9}{'faults':>9}")
    for name in args.only:
        counts = fuzz_reader(name, args.seed, 60 * args.minutes / len(args.only), args.output)
        total.update(counts)
        show(name, counts)
    show("together", total)
    return 1 if total["fault"] else 0


def show(name: str, counts: Counter) -> None:
    columns = (counts[outcome] for outcome in ("read", "refused", "fault"))
    print(f"{name:24}{counts.total():9}" + "".join(f"{n:9}" for n in columns), flush=True)


if __name__ == "__main__":
    sys.exit(main())
