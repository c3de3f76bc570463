"""What tiles change: the same images whole and in tiles, and a slide in bounded memory."""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import cv2
import numpy as np
import tifffile

from benchmarks.timing import Row
from dsb2018.inference.discover import find_images
from dsb2018.inference.microscopy_image import choose_channel
from dsb2018.inference.predictor import Predictor
from dsb2018.inference.readers import open_images
from dsb2018.inference.tiling.stitching import Tiling, divide
from dsb2018.structures.masks import Crop
from dsb2018.structures.nuclei import Nuclei

LARGE = 1000  # edge of images that are taken in tiles here, pixels
TILING = Tiling(edge=512, margin=96, whole=512)
PATCH = 256  # edge of the pieces that a slide is put together of
SLIDES = (4096, 8192)  # edges, pixels; `python -m benchmarks.tiling 20000` takes others


def measure(images: Path, slides: Sequence[int] = SLIDES) -> list[Row]:
    """Rows of the report, of a DSB folder."""
    paths = [path for _, path in find_images([str(images)])]
    large = [path for path in paths if max(_size(path)) >= LARGE]
    return [*_compare(large), *(_slide(paths, edge) for edge in slides)]


def _size(path: Path) -> tuple[int, ...]:
    return cv2.imread(str(path), cv2.IMREAD_GRAYSCALE).shape


def _compare(paths: list[Path]) -> list[Row]:
    predictor = Predictor()
    counts, ious, at_seam = np.zeros(2, int), [], []
    for path in paths:
        (picture,) = open_images(path.stem, path)
        image = predictor.prepare(choose_channel(picture, None).read(0, 0, *picture.size))
        predictor.tiling = Tiling(whole=max(picture.size))
        whole = predictor.find([image])[0]
        predictor.tiling = TILING
        tiled = predictor.find([image])[0]
        counts += len(whole), len(tiled)
        ious += best_ious(whole, tiled)
        seams = [tile.core for tile in divide(*picture.size, TILING)]
        at_seam += [_is_cut(crop, seams) for crop in whole.crops]
    ious, at_seam = np.array(ious), np.array(at_seam)
    found = ious >= 0.5
    difference = 100 * (counts[1] - counts[0]) / counts[0]
    what = f"{len(paths)} large images, {counts[0]} nuclei, tiles of {TILING.edge}"
    return [
        Row(f"{what}: count against whole", f"{difference:+.2f} %", "± 0.5 %"),
        Row("  IoU of matched nuclei", f"{ious[found].mean():.4f}", "≥ 0.98"),
        Row(
            f"  matched, {at_seam.sum()} nuclei on seams / the others",
            f"{100 * found[at_seam].mean():.2f} / {100 * found[~at_seam].mean():.2f} %",
        ),
        Row(
            "  IoU, nuclei on seams / the others",
            f"{ious[at_seam & found].mean():.4f} / {ious[~at_seam & found].mean():.4f}",
        ),
    ]


def best_ious(a: Nuclei, b: Nuclei) -> list[float]:
    """Of each of a's nuclei, the greatest intersection over union with one of b's."""
    labels, areas = b.labels, b.areas
    result = []
    for crop in a.crops:
        height, width = crop.mask.shape
        there = labels[crop.y : crop.y + height, crop.x : crop.x + width][crop.mask]
        common = np.bincount(there, minlength=1)
        common[0] = 0
        others = np.flatnonzero(common)
        unions = crop.area + areas[others - 1] - common[others]
        result.append(float((common[others] / unions).max(initial=0)))
    return result


def _is_cut(crop: Crop, cores: list[tuple[int, int, int, int]]) -> bool:
    """Whether it lies in more than one core."""
    height, width = crop.mask.shape
    inside = [
        y <= crop.y and crop.y + height <= y + h and x <= crop.x and crop.x + width <= x + w
        for y, x, h, w in cores
    ]
    return not any(inside)


def _slide(paths: list[Path], edge: int) -> Row:
    with tempfile.TemporaryDirectory() as folder:
        slide = Path(folder) / "slide.tif"
        write_slide(slide, paths, edge)
        command = ["tools/predict.py", "--input", str(slide), "--output", f"{folder}/out"]
        start = time.perf_counter()
        process = subprocess.Popen([sys.executable, *command], stdout=subprocess.PIPE, text=True)
        peak = 0
        while process.poll() is None:
            peak = max(peak, memory_of(process.pid))
            time.sleep(0.5)
        took, told = time.perf_counter() - start, process.stdout.read().splitlines()[0]
    what = f"slide of {edge:,} × {edge:,} pixels, {told.split(', ')[1]}"
    return Row(what, f"{took:.0f} s, {peak / 2**30:.2f} GiB", "< 2 GB")


def write_slide(path: Path, paths: list[Path], edge: int) -> None:
    """Pieces of the fluorescence images, drawn at random and alike in contrast, with some noise: a
    (edge, edge) uint16 TIFF in tiles."""
    rng = np.random.default_rng(0)
    pieces = []
    for image in (cv2.imread(str(each)) for each in paths):
        grey = image[..., 0]
        low, high = np.percentile(grey, (0.1, 99.9))
        if np.ptp(image, axis=2).any() or grey.mean() > 100 or high - low < 5:
            continue
        spread = (np.clip((grey - low) / (high - low), 0, 1) * 4000 + 100).astype(np.uint16)
        rows, columns = (size // PATCH * PATCH for size in grey.shape)
        for y in range(0, rows, PATCH):
            pieces += [spread[y : y + PATCH, x : x + PATCH] for x in range(0, columns, PATCH)]

    def tiles() -> Iterator[np.ndarray]:
        for _ in range((-(-edge // PATCH)) ** 2):
            yield pieces[rng.integers(len(pieces))] + rng.integers(0, 30, (2 * [PATCH]), np.uint16)

    options = {"shape": (edge, edge), "dtype": np.uint16, "tile": (PATCH, PATCH)}
    tifffile.imwrite(path, tiles(), compression="zlib", photometric="minisblack", **options)


def memory_of(pid: int) -> int:
    """Bytes that a process and its children hold now, shared pages once; Linux."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
        own = next(int(line.split()[1]) for line in lines if line.startswith("Pss:")) * 1024
        threads = Path(f"/proc/{pid}/task").iterdir()
        children = {child for each in threads for child in (each / "children").read_text().split()}
    except (FileNotFoundError, ProcessLookupError):  # it has ended
        return 0
    return own + sum(memory_of(int(child)) for child in children)


if __name__ == "__main__":
    stage1_train = os.environ["DSB2018_REAL_DATA"] + "/stage1_train"
    for row in measure(Path(stage1_train), [int(edge) for edge in sys.argv[1:]]):
        print(row.what, row.figure)
