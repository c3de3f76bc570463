"""Nuclei of images in tiles, compared with whole images; time and memory of large slides."""

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
from dsb2018.images import open_images
from dsb2018.images.microscopy_image import choose_channel
from dsb2018.inference.discover import find_images
from dsb2018.inference.predictor import Predictor
from dsb2018.inference.tiling.stitching import Tiling, divide
from dsb2018.structures.masks import Crop
from dsb2018.structures.nuclei import Nuclei

LARGE = 1000  # images with at least this height or width are compared, pixels
TILING = Tiling(edge=512, margin=96, whole=512)
PATCH = 256  # height and width of the patches of a synthetic slide, pixels
SLIDES = (4096, 8192)  # height and width, pixels; others: `python -m benchmarks.tiling 20000`


def measure(images: Path, slides: Sequence[int] = SLIDES) -> list[Row]:
    """Returns the rows of the report, for a DSB folder."""
    paths = [path for _, path in find_images([str(images)])]
    large = [path for path in paths if max(_size(path)) >= LARGE]
    return [*_compare(large), *(_measure_slide(paths, edge) for edge in slides)]


def _size(path: Path) -> tuple[int, ...]:
    return cv2.imread(str(path), cv2.IMREAD_GRAYSCALE).shape


def _compare(paths: list[Path]) -> list[Row]:
    predictor = Predictor()
    counts, ious, on_seam = np.zeros(2, int), [], []
    for path in paths:
        (image_file,) = open_images(path.stem, path)
        size = image_file.size
        image = predictor.prepare(choose_channel(image_file, None).read(0, 0, *size))
        predictor.tiling = Tiling(whole=max(size))
        whole = predictor.find([image])[0]
        predictor.tiling = TILING
        tiled = predictor.find([image])[0]
        counts += len(whole), len(tiled)
        ious += best_ious(whole, tiled)
        cores = [tile.core for tile in divide(*size, TILING)]
        on_seam += [_is_on_seam(crop, cores) for crop in whole.crops]
    ious, on_seam = np.array(ious), np.array(on_seam)
    matched = ious >= 0.5
    difference = 100 * (counts[1] - counts[0]) / counts[0]
    name = f"{len(paths)} large images, {counts[0]} nuclei, tiles of {TILING.edge}"
    return [
        Row(f"{name}: count, compared with whole", f"{difference:+.2f} %", "± 0.5 %"),
        Row("  IoU of matched nuclei", f"{ious[matched].mean():.4f}", "≥ 0.98"),
        Row(
            f"  matched, {on_seam.sum()} nuclei on seams / other nuclei",
            f"{100 * matched[on_seam].mean():.2f} / {100 * matched[~on_seam].mean():.2f} %",
        ),
        Row(
            "  IoU, nuclei on seams / other nuclei",
            f"{ious[on_seam & matched].mean():.4f} / {ious[~on_seam & matched].mean():.4f}",
        ),
    ]


def best_ious(a: Nuclei, b: Nuclei) -> list[float]:
    """Returns the largest IoU of each nucleus in `a` with a nucleus in `b`."""
    labels, areas = b.labels, b.areas
    ious = []
    for crop in a.crops:
        intersections = np.bincount(labels[crop.window][crop.mask], minlength=1)
        intersections[0] = 0
        others = np.flatnonzero(intersections)
        unions = crop.area + areas[others - 1] - intersections[others]
        ious.append(float((intersections[others] / unions).max(initial=0)))
    return ious


def _is_on_seam(crop: Crop, cores: list[tuple[int, int, int, int]]) -> bool:
    """Whether a nucleus is in more than one core."""
    inside = (
        y <= crop.y and crop.bottom <= y + h and x <= crop.x and crop.right <= x + w
        for y, x, h, w in cores
    )
    return not any(inside)


def _measure_slide(paths: list[Path], edge: int) -> Row:
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
        duration = time.perf_counter() - start
        summary = process.stdout.read().splitlines()[0]  # "1 of 1 files done, 9 nuclei"
    name = f"slide of {edge:,} × {edge:,} pixels, {summary.split(', ')[1]}"
    return Row(name, f"{duration:.0f} s, {peak / 2**30:.2f} GiB", "< 2 GB")


def write_slide(path: Path, paths: list[Path], edge: int) -> None:
    """Writes a synthetic slide: a tiled (edge, edge) uint16 TIFF.

    It consists of random patches of the fluorescence images, with equal contrast and some noise.
    """
    rng = np.random.default_rng(0)
    patches = []
    for image in (cv2.imread(str(image_path)) for image_path in paths):
        gray = image[..., 0]
        low, high = np.percentile(gray, (0.1, 99.9))
        if np.ptp(image, axis=2).any() or gray.mean() > 100 or high - low < 5:
            continue  # in color, bright or nearly empty
        stretched = (np.clip((gray - low) / (high - low), 0, 1) * 4000 + 100).astype(np.uint16)
        rows, columns = (size // PATCH * PATCH for size in gray.shape)
        for y in range(0, rows, PATCH):
            patches += [stretched[y : y + PATCH, x : x + PATCH] for x in range(0, columns, PATCH)]

    def tiles() -> Iterator[np.ndarray]:
        for _ in range((-(-edge // PATCH)) ** 2):
            noise = rng.integers(0, 30, (PATCH, PATCH), np.uint16)
            yield patches[rng.integers(len(patches))] + noise

    options = {"shape": (edge, edge), "dtype": np.uint16, "tile": (PATCH, PATCH)}
    tifffile.imwrite(path, tiles(), compression="zlib", photometric="minisblack", **options)


def memory_of(process_id: int) -> int:
    """Returns the memory of a process and its children, in bytes. Linux only.

    Memory that they share is counted once (PSS).
    """
    try:
        lines = Path(f"/proc/{process_id}/smaps_rollup").read_text().splitlines()
        own = next(int(line.split()[1]) for line in lines if line.startswith("Pss:")) * 1024
        tasks = Path(f"/proc/{process_id}/task").iterdir()
        children = {pid for task in tasks for pid in (task / "children").read_text().split()}
    except (FileNotFoundError, ProcessLookupError):  # the process has ended
        return 0
    return own + sum(memory_of(int(child)) for child in children)


if __name__ == "__main__":
    stage1_train = os.environ["DSB2018_REAL_DATA"] + "/stage1_train"
    for row in measure(Path(stage1_train), [int(edge) for edge in sys.argv[1:]]):
        print(row.name, row.value)
