"""What is measured of nuclei: a row of numbers for each nucleus, and one for each image.

Shapes are measured by scikit-image's `regionprops`, of which the names are; lengths are in pixels,
and, where the size of a pixel is known, in micrometres in columns of their own.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from scipy import ndimage
from scipy.spatial import cKDTree
from skimage.measure import regionprops_table

from dsb2018.inference.microscopy_image import MicroscopyImage
from dsb2018.structures.nuclei import Nuclei

SHAPES = ("area", "perimeter", "axis_major_length", "axis_minor_length", "eccentricity", "solidity")
STATISTICS = {
    "mean": ndimage.mean,
    "median": ndimage.median,
    "std": ndimage.standard_deviation,
    "sum": ndimage.sum_labels,
}
# in micrometres: column → power of the edge of a pixel
LENGTHS = {
    "area": 2,
    "perimeter": 1,
    "axis_major_length": 1,
    "axis_minor_length": 1,
    "neighbour_distance": 1,
}
BLOCK = 1024  # edge of what is measured at once, pixels
SAMPLE = 4e6  # pixels of which the background is taken

Columns = dict[str, np.ndarray]


def measure_nuclei(nuclei: Nuclei, image: MicroscopyImage) -> Columns:
    """Measures the nuclei of an image.

    Args:
        nuclei: of the image.
        image: 2-D, with all its channels; it is read in blocks.

    Returns:
        {column: (N,) values}, the k-th of label k + 1: label, score, centroid_y, centroid_x (pixels
        from the middle of the first pixel), box_y, box_x, box_height, box_width, those of `SHAPES`,
        circularity (4 π area / perimeter²; at most 1), neighbour_distance (between centroids, NaN
        for a single nucleus), touching (another nucleus), at_border (of the image), and for each
        channel intensity_mean, _median, _std, _sum, above the background's median, of which the
        column background tells; names of several channels end in _0, _1, … or the channel's name.
        Those of `LENGTHS` also in micrometres, ending in _um or _um2, where the image's pixel
        size is known.
    """
    count, channels = len(nuclei), _channel_names(image)
    backgrounds = background_levels(nuclei, image)
    columns: Columns = {
        "label": np.arange(1, count + 1),
        "score": nuclei.scores.astype(np.float64),
    }
    parts = [_measure_block(b, backgrounds, channels) for b in blocks(nuclei, image)]
    order = np.argsort(np.concatenate([part.pop("label") for part in parts]))
    for name in parts[0]:
        columns[name] = np.concatenate([part[name] for part in parts])[order]
    columns["circularity"] = _circularity(columns["area"], columns["perimeter"])
    columns["neighbour_distance"] = _neighbour_distances(columns)
    columns["at_border"] = _at_border(nuclei)
    if image.pixel_size:
        edge = float(np.sqrt(np.prod(image.pixel_size)))  # of a square pixel of the same area
        for name, power in LENGTHS.items():
            columns[f"{name}_um{2 if power == 2 else ''}"] = columns[name] * edge**power
    return columns


def summarize_nuclei(columns: Columns, image: MicroscopyImage) -> dict[str, float | int | str]:
    """One row for an image: its size, the number and density of nuclei, means over them, share of
    the area that they cover, and by channel the sum of their intensities."""
    height, width = image.size
    count, area = len(columns["label"]), float(columns["area"].sum())
    row = {
        "height": height,
        "width": width,
        "nuclei": count,
        "nuclei_per_megapixel": 1e6 * count / (height * width),
        "covered": area / (height * width),
        "mean_area": area / count if count else float("nan"),
    }
    if image.pixel_size:
        y, x = image.pixel_size
        row["pixel_size_um"] = float(np.sqrt(y * x))
        row["nuclei_per_mm2"] = 1e6 * count / (height * width * y * x)
        row["mean_area_um2"] = row["mean_area"] * y * x
    for name, values in columns.items():
        if name.startswith("intensity_sum"):
            row[name.replace("intensity_sum", "integrated_intensity")] = float(values.sum())
        if name.startswith("intensity_mean"):
            mean = float(values.mean()) if count else float("nan")
            row[name.replace("intensity_mean", "mean_intensity")] = mean
    return row


def background_levels(nuclei: Nuclei, image: MicroscopyImage) -> np.ndarray:
    """(C,) float64: the median of each channel's pixels outside of nuclei; of very large images of
    a sample of them; of all these where everything is nucleus."""
    step = max(1, int(np.sqrt(np.prod(image.size) / SAMPLE)))
    everywhere, outside = [], []
    for (y, x), pixels in image.windows(BLOCK // step * step or step).with_positions():
        sample = pixels[::step, ::step]
        free = nuclei.window(y, x, *pixels.shape[:2])[::step, ::step] == 0
        everywhere.append(sample.reshape(-1, sample.shape[2]))
        outside.append(sample[free])
    chosen = outside if any(map(len, outside)) else everywhere
    return np.median(np.concatenate(chosen), axis=0).astype(np.float64)


class Block(NamedTuple):
    """A part of an image that is measured at once.

    Args:
        top, left: its place, pixels.
        labels: (h, w) int32 of all nuclei there.
        pixels: (h, w, C).
        wanted: the labels that are measured: they lie in it with all their pixels and neighbours.
    """

    top: int
    left: int
    labels: np.ndarray
    pixels: np.ndarray
    wanted: list[int]


def blocks(nuclei: Nuclei, image: MicroscopyImage, around: int = 1) -> Iterator[Block]:
    """Blocks that together have each nucleus once, as large as those nuclei need that begin in the
    same `BLOCK` × `BLOCK` pixels. There is a first one even without nuclei.

    Args:
        nuclei: of the image.
        image: 2-D, with all its channels.
        around: pixels around each nucleus that its block has too, where the image has them.
    """
    height, width = nuclei.size
    begun: dict[tuple[int, int], list[int]] = {} if len(nuclei) else {(0, 0): []}
    for index, crop in enumerate(nuclei.crops):
        begun.setdefault((crop.y // BLOCK, crop.x // BLOCK), []).append(index)
    for _, indices in sorted(begun.items()):
        boxes = np.array([nuclei.crops[index].box for index in indices]).reshape(-1, 4)
        left, top = np.maximum(boxes[:, :2].min(axis=0, initial=max(height, width)) - around, 0)
        right, bottom = (boxes[:, :2] + boxes[:, 2:]).max(axis=0, initial=0) + around
        bottom, right = min(int(bottom), height), min(int(right), width)
        top, left = min(int(top), bottom - 1), min(int(left), right - 1)
        place = top, left, bottom - top, right - left
        labels, pixels = nuclei.window(*place), image.read(*place)
        yield Block(top, left, labels, pixels, [index + 1 for index in indices])


def _measure_block(block: Block, backgrounds: np.ndarray, channels: list[str]) -> Columns:
    top, left, labels, pixels, _ = block
    wanted = np.array(block.wanted, np.int64)
    numbers = np.zeros(labels.max() + 1, np.int32)  # small ones: time goes with the greatest
    numbers[wanted] = np.arange(1, len(wanted) + 1)
    chosen = numbers[labels]
    found = regionprops_table(chosen, properties=("label", "centroid", "bbox", *SHAPES))
    own = wanted[found["label"] - 1]
    columns = {
        "label": own,
        "centroid_y": found["centroid-0"] + top,
        "centroid_x": found["centroid-1"] + left,
        "box_y": found["bbox-0"] + top,
        "box_x": found["bbox-1"] + left,
        "box_height": found["bbox-2"] - found["bbox-0"],
        "box_width": found["bbox-3"] - found["bbox-1"],
        **{name: found[name] for name in SHAPES},
        "touching": np.isin(own, _touching(labels)),
    }
    index, inside = found["label"], chosen > 0  # most pixels are of no nucleus
    of_pixels = chosen[inside]
    for channel, (name, background) in enumerate(zip(channels, backgrounds, strict=True)):
        above = pixels[..., channel][inside].astype(np.float64) - background
        for kind, function in STATISTICS.items():
            with np.errstate(invalid="ignore"):  # of labels that are not in this block
                values = function(above, of_pixels, index) if len(index) else []
            columns[f"intensity_{kind}{name}"] = np.asarray(values, np.float64)
        columns[f"background{name}"] = np.full(len(index), background)
    return columns


def _channel_names(image: MicroscopyImage) -> list[str]:
    """Endings of the columns of each channel; of a single one none."""
    axis = next((a for a in image.axes if a in "CS" and a not in image.fixed), None)
    count = image.length(axis) if axis else 1
    if count == 1:
        return [""]
    if len(set(image.channels)) == count:
        return [f"_{name}" for name in image.channels]
    if axis == "S" and count == 3:
        return ["_red", "_green", "_blue"]
    return [f"_{number}" for number in range(count)]


def _touching(labels: np.ndarray) -> np.ndarray:
    """Labels that have a pixel beside, over or at a corner of another label's pixel."""
    found = []
    for a, b in (
        (labels[1:], labels[:-1]),
        (labels[:, 1:], labels[:, :-1]),
        (labels[1:, 1:], labels[:-1, :-1]),
        (labels[1:, :-1], labels[:-1, 1:]),
    ):
        meet = (a != b) & (a > 0) & (b > 0)
        found += [a[meet], b[meet]]
    return np.unique(np.concatenate(found))


def _circularity(area: np.ndarray, perimeter: np.ndarray) -> np.ndarray:
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(perimeter > 0, np.minimum(4 * np.pi * area / perimeter**2, 1.0), 1.0)


def _neighbour_distances(columns: Columns) -> np.ndarray:
    points = np.stack([columns["centroid_y"], columns["centroid_x"]], axis=1)
    if len(points) < 2:
        return np.full(len(points), np.nan)
    return cKDTree(points).query(points, k=2)[0][:, 1]


def _at_border(nuclei: Nuclei) -> np.ndarray:
    height, width = nuclei.size
    return np.array(
        [
            c.y == 0 or c.x == 0 or c.y + len(c.mask) == height or c.x + c.mask.shape[1] == width
            for c in nuclei.crops
        ],
        bool,
    )
