"""Reads the nuclei of label images."""

import warnings
from pathlib import Path

import numpy as np
from PIL import Image as PillowImage
from PIL import UnidentifiedImageError

from dsb2018.images.pixels import open_plane
from dsb2018.prepare.forms.matlab_file import read_matlab
from dsb2018.structures.labels import crop_labels
from dsb2018.structures.masks import Crop

LABEL_SUFFIXES = (".png", ".tif", ".tiff", ".npy", ".mat", ".bmp")
# Meaning of the values of a label image. nuclei: each value other than 0 is one nucleus; regions:
# each connected region of one value is a nucleus; foreground: any value other than 0 is nucleus,
# and touching nuclei are not separated.
LABEL_VALUES = ("nuclei", "regions", "foreground")
MATLAB_NAME = "inst_map"  # variable of a label image in the .mat files of CoNSeP and HoVer-Net
MIN_MEAN_AREA = 4  # of the nuclei of a label image, pixels
MIN_FILL = 0.1  # median share of the bounding box that a nucleus fills
BINARY_VALUES = (1, 255, 65535)
MOST_CLASSES = 4  # with more values, a label image is one of single nuclei


def read_label_pixels(path: Path, size: tuple[int, int]) -> np.ndarray:
    """Reads a label image.

    Args:
        path: an image file, `.npy`, or `.mat` with the variable `inst_map`.
        size: expected height and width, pixels.

    Returns:
        (H, W) or (H, W, 3) whole numbers, 0 or more.

    Raises:
        ValueError: the file is not a label image of this size.
    """
    labels = (
        read_matlab(path, MATLAB_NAME) if path.suffix.lower() == ".mat" else _read_image(path, size)
    )
    if labels.shape[:2] != size:
        raise ValueError(_wrong_size(labels.shape[:2], size))
    if labels.dtype.kind == "f" and not (labels == np.floor(labels)).all():  # also False for NaN
        raise ValueError("values that are not whole numbers, expected a label image")
    if labels.min(initial=0) < 0 or labels.max(initial=0) > 2**53:
        raise ValueError("negative or huge values, expected 0 and one number for each nucleus")
    return labels


def _read_image(path: Path, size: tuple[int, int]) -> np.ndarray:
    image = open_plane(path)
    if image.size != size:  # before the pixels of a large file are read
        raise ValueError(_wrong_size(image.size, size))
    indices = _palette_indices(path)
    if indices is not None:
        return indices
    pixels = image.read(0, 0, *size)
    return pixels[..., 0] if pixels.shape[2] == 1 else pixels


def _wrong_size(found: tuple[int, int], expected: tuple[int, int]) -> str:
    return f"{found[0]}×{found[1]} pixels, its image has {expected[0]}×{expected[1]}"


def _palette_indices(path: Path) -> np.ndarray | None:
    """Returns the numbers of an image with indexed colors, whose colors are only for display."""
    if path.suffix.lower() not in (".png", ".tif", ".tiff", ".bmp"):
        return None
    try:
        with warnings.catch_warnings(action="ignore"), PillowImage.open(path) as image:
            return np.asarray(image) if image.mode == "P" else None
    except UnidentifiedImageError:  # for example a TIFF file of 64 bits
        return None


def split_labels(labels: np.ndarray, values: str | None) -> list[Crop]:
    """Returns the nuclei of a label image, sorted by their value.

    Args:
        labels: see `read_label_pixels`.
        values: one of `LABEL_VALUES`; None: "regions" for a color image, else "nuclei" if the
            image is one of single nuclei.

    Raises:
        ValueError: the image seems to be a photo; or, without `values`, a mask of classes.
    """
    is_color = labels.ndim == 3
    if is_color:  # one number for each color
        labels = labels.astype(np.int64) @ np.array([1 << 32, 1 << 16, 1])
    if values == "foreground":
        numbers = (labels > 0).astype(np.uint8)
    else:
        # With the value 0 added, the rank of the background is 0 even if the image has none.
        unique, ranks = np.unique(np.append(labels, 0), return_inverse=True)
        numbers = ranks[:-1].reshape(labels.shape).astype(np.int32)
        if values == "regions" or (values is None and is_color):
            numbers = _label_regions(numbers)
        elif values is None and len(unique) <= MOST_CLASSES + 1:
            _check_not_classes(numbers, unique[1:])
    crops = [crop for _, crop in crop_labels(numbers)]
    if values != "foreground":
        _check_not_photo(crops, labels.size)
    return crops


def _label_regions(numbers: np.ndarray) -> np.ndarray:
    """Numbers the connected regions of equal values other than 0, corners included."""
    from skimage.measure import label  # takes a while, and most inputs do not need it

    return label(numbers, background=0).astype(np.int32)


def _check_not_classes(numbers: np.ndarray, values: np.ndarray) -> None:
    """Raises `ValueError` if few values seem to be classes of pixels, such as nucleus and rest.

    Args:
        numbers: (H, W) labels from 1 to the number of values, 0 in the background.
        values: the values other than 0 in the file.
    """
    if not len(values):
        return
    regions = int(_label_regions(numbers).max())
    is_binary = len(values) == 1 and values[0] in BINARY_VALUES
    text = ", ".join(f"{value:g}" for value in values)
    problem = ""
    if (numbers > 0).all():
        problem = f"no pixel of the background, 0, but only the values {text}"
    elif len(values) == 1 and np.count_nonzero(numbers) > numbers.size / 2:
        problem = f"the value {text} in more than half of the pixels"
    elif regions > (1 if is_binary else max(2, 2 * len(values) - 1)):
        name = "the value" if len(values) == 1 else "the values"
        problem = f"{name} {text} in {regions} separate regions"
    if problem:
        raise ValueError(
            f"{problem}; expected 0 and another number for each nucleus. If this is a mask with 0 "
            "in the background, pass --label-values regions (each region is a nucleus) or "
            "--label-values foreground (touching nuclei may be one region); if it is right, pass "
            "--label-values nuclei"
        )


def _check_not_photo(crops: list[Crop], pixels: int) -> None:
    fills = [crop.area / crop.mask.size for crop in crops]
    is_scattered = len(crops) > 9 and np.median(fills) < MIN_FILL
    if len(crops) > max(9, pixels / MIN_MEAN_AREA) or is_scattered:
        raise ValueError(
            f"{len(crops)} different values, scattered over {pixels} pixels, expected a label "
            "image with one number for each nucleus, not a photo"
        )
