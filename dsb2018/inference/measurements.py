"""Measurements of nuclei and of images.

Shapes are measured by scikit-image's `regionprops`, and the columns have its names. Lengths are in
pixels. If the pixel size is known, additional columns contain them in micrometers.
"""

from collections.abc import Iterator, Mapping
from typing import NamedTuple

import numpy as np
from scipy import ndimage
from scipy.spatial import cKDTree
from skimage.measure import regionprops_table

from dsb2018.images.microscopy_image import RGB_CHANNELS, MicroscopyImage
from dsb2018.inference.background import background_levels
from dsb2018.structures.nuclei import Nuclei

SHAPES = ("area", "perimeter", "axis_major_length", "axis_minor_length", "eccentricity", "solidity")
STATISTICS = {
    "mean": ndimage.mean,
    "median": ndimage.median,
    "std": ndimage.standard_deviation,
    "sum": ndimage.sum_labels,
}
# {column that is also written in micrometers: exponent of the pixel size}
LENGTHS = {
    "area": 2,
    "perimeter": 1,
    "axis_major_length": 1,
    "axis_minor_length": 1,
    "neighbour_distance": 1,
}
BLOCK = 1024  # edge of the grid by which nuclei are grouped into blocks, pixels

Columns = Mapping[str, np.ndarray]


class Part(NamedTuple):
    """A part of the nuclei of a large image, and what its measurement needs of the others.

    Args:
        indices: of the nuclei.
        backgrounds: of the whole image, see `background_levels`.
        neighbour_distances: (N,) pixels, see `measure_nuclei`.
    """

    indices: range
    backgrounds: np.ndarray
    neighbour_distances: np.ndarray


def measure_nuclei(nuclei: Nuclei, image: MicroscopyImage, part: Part | None = None) -> Columns:
    """Measures the nuclei of an image.

    Args:
        nuclei: the nuclei of the image.
        image: the 2-D image with all channels; it is read in blocks.
        part: the N nuclei that are measured; None: all.

    Returns:
        {column: (N,) values}, in ascending order of the labels. The columns are

        - label, and score (0 to 1);
        - centroid_y, centroid_x in pixels (the center of the first pixel is 0);
        - box_y, box_x, box_height, box_width in pixels;
        - the columns of `SHAPES`, in pixels;
        - touching (another nucleus), at_border (of the image);
        - circularity (4 π area / perimeter², at most 1);
        - neighbour_distance (between centroids, pixels; NaN for a single nucleus);
        - for each channel intensity_mean, intensity_median, intensity_std and intensity_sum, above
          the background, and background, the median of the pixels outside of nuclei. With several
          channels, the names end in the name, the color or the index of the channel;
        - if the pixel size is known, the columns of `LENGTHS` in micrometers; the names end in _um
          or _um2.
    """
    channels = channel_suffixes(image)
    indices = part.indices if part else range(len(nuclei))
    backgrounds = part.backgrounds if part else background_levels(nuclei, image)
    columns: dict[str, np.ndarray] = {
        "label": np.arange(indices.start + 1, indices.stop + 1),
        "score": nuclei.scores[indices.start : indices.stop].astype(np.float64),
    }
    tables = [
        _measure_block(block, backgrounds, channels)
        for block in blocks(nuclei, image, indices=indices)
    ]
    order = np.argsort(np.concatenate([table.pop("label") for table in tables]))
    for name in tables[0]:
        columns[name] = np.concatenate([table[name] for table in tables])[order]
    columns["circularity"] = _circularity(columns["area"], columns["perimeter"])
    columns["neighbour_distance"] = (
        part.neighbour_distances if part else _neighbour_distances(columns)
    )
    columns["at_border"] = np.array(
        [nuclei.at_border(nuclei.crops[index]) for index in indices], bool
    )
    if image.pixel_size:
        edge = float(np.sqrt(np.prod(image.pixel_size)))  # of a square pixel with the same area
        for name, power in LENGTHS.items():
            columns[f"{name}_um{2 if power == 2 else ''}"] = columns[name] * edge**power
    return columns


def summarize_nuclei(
    columns: Columns, image: MicroscopyImage, warning: str = ""
) -> dict[str, float | int | str]:
    """Returns the row of an image in `images.csv`.

    Args:
        columns: the measurements of the nuclei, see `measure_nuclei`.
        image: the image.
        warning: see `find_doubts`.

    Returns:
        height and width of the image, the number of nuclei, their density, the share of the image
        that they cover, their mean area, their median diameter (of a circle with the same area) and
        score, a warning (see `find_doubts`), and for each channel the mean and the sum of their
        intensities. Densities and areas in micrometers are included if the pixel size is known.
    """
    height, width = image.size
    count, area = len(columns["label"]), float(columns["area"].sum())
    row: dict[str, float | int | str] = {
        "height": height,
        "width": width,
        "nuclei": count,
        "nuclei_per_megapixel": 1e6 * count / (height * width),
        "covered": area / (height * width),
        "mean_area": area / count if count else float("nan"),
        "median_diameter": typical_diameter(columns),
        "median_score": typical_score(columns),
    }
    row["warning"] = warning
    if image.pixel_size:
        y, x = image.pixel_size
        row["pixel_size_um"] = float(np.sqrt(y * x))
        row["nuclei_per_mm2"] = 1e6 * count / (height * width * y * x)
        row["mean_area_um2"] = row["mean_area"] * y * x
    for name in columns:
        if name.startswith("intensity_sum"):
            row[name.replace("intensity_sum", "integrated_intensity")] = float(columns[name].sum())
        if name.startswith("intensity_mean"):
            mean = float(columns[name].mean()) if count else float("nan")
            row[name.replace("intensity_mean", "mean_intensity")] = mean
    return row


def typical_diameter(columns: Columns) -> float:
    """Returns the median diameter of circles with the areas of the nuclei, pixels; NaN if none."""
    return _median(2 * np.sqrt(columns["area"] / np.pi))


def typical_score(columns: Columns) -> float:
    """Returns the median score of the nuclei; NaN if there are none."""
    return _median(columns["score"])


def _median(values: np.ndarray) -> float:
    return float(np.median(values)) if len(values) else float("nan")


class Block(NamedTuple):
    """A part of an image whose nuclei are measured together.

    Args:
        top, left: position in the image, pixels.
        labels: (h, w) int32 label image, which contains all nuclei of this part.
        pixels: (h, w, C).
        targets: labels of the nuclei to measure. The block contains them and their neighborhood
            completely.
    """

    top: int
    left: int
    labels: np.ndarray
    pixels: np.ndarray
    targets: list[int]


def blocks(
    nuclei: Nuclei, image: MicroscopyImage, margin: int = 1, indices: range | None = None
) -> Iterator[Block]:
    """Divides an image into blocks; each nucleus is a target of exactly one block.

    The targets of a block are the nuclei whose boxes begin in the same `BLOCK` × `BLOCK` pixels.
    The block contains all of their pixels. An image without nuclei has one block.

    Args:
        nuclei: the nuclei of the image.
        image: the 2-D image with all channels.
        margin: margin of the block around its targets, clipped to the image, pixels.
        indices: of the nuclei to measure; None: all.
    """
    height, width = nuclei.size
    indices = range(len(nuclei)) if indices is None else indices
    by_cell: dict[tuple[int, int], list[int]] = {} if indices else {(0, 0): []}
    for index in indices:
        crop = nuclei.crops[index]
        by_cell.setdefault((crop.y // BLOCK, crop.x // BLOCK), []).append(index)
    for _, targets in sorted(by_cell.items()):
        boxes = np.array([nuclei.crops[index].box for index in targets]).reshape(-1, 4)
        left, top = np.maximum(boxes[:, :2].min(axis=0, initial=max(height, width)) - margin, 0)
        right, bottom = (boxes[:, :2] + boxes[:, 2:]).max(axis=0, initial=0) + margin
        bottom, right = min(int(bottom), height), min(int(right), width)
        top, left = min(int(top), bottom - 1), min(int(left), right - 1)
        window = top, left, bottom - top, right - left
        labels, pixels = nuclei.window(*window), image.read(*window)
        for index in targets:  # parts of a huge nucleus, in two tiles, may overlap
            crop = nuclei.crops[index]
            labels[crop.moved(-left, -top).window][crop.mask] = index + 1
        yield Block(top, left, labels, pixels, [index + 1 for index in targets])


def _measure_block(
    block: Block, backgrounds: np.ndarray, channels: list[str]
) -> dict[str, np.ndarray]:
    top, left, labels, pixels, _ = block
    targets = np.array(block.targets, np.int64)
    # Renumber the targets from 1, because the time of `regionprops` grows with the largest label.
    new_labels = np.zeros(labels.max() + 1, np.int32)  # 0: other nuclei
    new_labels[targets] = np.arange(1, len(targets) + 1)
    target_labels = new_labels[labels]
    regions = regionprops_table(target_labels, properties=("label", "centroid", "bbox", *SHAPES))
    original_labels = targets[regions["label"] - 1]
    columns = {
        "label": original_labels,
        "centroid_y": regions["centroid-0"] + top,
        "centroid_x": regions["centroid-1"] + left,
        "box_y": regions["bbox-0"] + top,
        "box_x": regions["bbox-1"] + left,
        "box_height": regions["bbox-2"] - regions["bbox-0"],
        "box_width": regions["bbox-3"] - regions["bbox-1"],
        **{name: regions[name] for name in SHAPES},
        "touching": np.isin(original_labels, _touching(labels)),
    }
    index, is_target = regions["label"], target_labels > 0  # most pixels are background
    pixel_labels = target_labels[is_target]
    for channel, (name, background) in enumerate(zip(channels, backgrounds, strict=True)):
        intensities = pixels[..., channel][is_target].astype(np.float64) - background
        for statistic, function in STATISTICS.items():
            with np.errstate(invalid="ignore"):  # labels without pixels in this block
                values = function(intensities, pixel_labels, index) if len(index) else []
            columns[f"intensity_{statistic}{name}"] = np.asarray(values, np.float64)
        columns[f"background{name}"] = np.full(len(index), background)
    return columns


def channel_suffixes(image: MicroscopyImage) -> list[str]:
    """Returns the suffix of the columns of each channel; "" if there is only one channel."""
    axis = image.channel_axis
    count = image.length(axis) if axis else 1
    if count == 1:
        return [""]
    if len(set(image.channels)) == count:
        return [f"_{name}" for name in image.channels]
    if axis == "S" and count == 3:
        return [f"_{name}" for name in RGB_CHANNELS]
    return [f"_{number}" for number in range(count)]


def _touching(labels: np.ndarray) -> np.ndarray:
    """Returns the labels that touch another label (8-connectivity)."""
    touching = []
    for a, b in (
        (labels[1:], labels[:-1]),
        (labels[:, 1:], labels[:, :-1]),
        (labels[1:, 1:], labels[:-1, :-1]),
        (labels[1:, :-1], labels[:-1, 1:]),
    ):
        is_contact = (a != b) & (a > 0) & (b > 0)
        touching += [a[is_contact], b[is_contact]]
    return np.unique(np.concatenate(touching))


def _circularity(area: np.ndarray, perimeter: np.ndarray) -> np.ndarray:
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(perimeter > 0, np.minimum(4 * np.pi * area / perimeter**2, 1.0), 1.0)


def _neighbour_distances(columns: Columns) -> np.ndarray:
    points = np.stack([columns["centroid_y"], columns["centroid_x"]], axis=1)
    if len(points) < 2:
        return np.full(len(points), np.nan)
    return cKDTree(points).query(points, k=2)[0][:, 1]
