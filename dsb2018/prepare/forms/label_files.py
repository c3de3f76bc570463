"""Reads the nuclei of label images."""

from pathlib import Path

import numpy as np

from dsb2018.images.pixels import open_plane
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
    labels = _read_matlab(path) if path.suffix.lower() == ".mat" else _read_image(path, size)
    if labels.shape[:2] != size:
        raise ValueError(f"{labels.shape[0]}×{labels.shape[1]} pixels, its image has {size}")
    if labels.dtype.kind == "f" and not (labels == np.floor(labels)).all():  # also False for NaN
        raise ValueError("values that are not whole numbers, expected a label image")
    if labels.min(initial=0) < 0 or labels.max(initial=0) > 2**53:
        raise ValueError("negative or huge values, expected 0 and one number for each nucleus")
    return labels


def _read_image(path: Path, size: tuple[int, int]) -> np.ndarray:
    image = open_plane(path)
    if image.size != size:  # before the pixels of a large file are read
        height, width = image.size
        raise ValueError(f"{height}×{width} pixels, its image has {size[0]}×{size[1]}")
    pixels = image.read(0, 0, *size)
    return pixels[..., 0] if pixels.shape[2] == 1 else pixels


def _read_matlab(path: Path) -> np.ndarray:
    from scipy.io import loadmat  # takes a while, and most inputs do not need it

    try:
        content = loadmat(path, variable_names=[MATLAB_NAME])
        return np.asarray(content[MATLAB_NAME])
    except KeyError as error:
        raise ValueError(
            f"no variable {MATLAB_NAME}, expected a label image of this name"
        ) from error
    except Exception as error:  # SciPy raises errors of any type for damaged files
        raise ValueError(f"not a readable MATLAB file ({error})") from error


def split_labels(labels: np.ndarray, values: str | None) -> list[Crop]:
    """Returns the nuclei of a label image, sorted by their value.

    Args:
        labels: see `read_label_pixels`.
        values: one of `LABEL_VALUES`; None: "regions" for a color image, else "nuclei".

    Raises:
        ValueError: the image seems to be a photo or a binary mask.
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
        elif len(unique) == 2 and unique[1] in BINARY_VALUES:
            _check_not_binary(numbers)
    crops = [crop for _, crop in crop_labels(numbers)]
    if values != "foreground":
        _check_not_photo(crops, labels.size)
    return crops


def _label_regions(numbers: np.ndarray) -> np.ndarray:
    """Numbers the connected regions of equal values other than 0, corners included."""
    from skimage.measure import label  # takes a while, and most inputs do not need it

    return label(numbers, background=0).astype(np.int32)


def _check_not_binary(numbers: np.ndarray) -> None:
    count = int(_label_regions(numbers).max())
    if count > 2:
        raise ValueError(
            f"one value in {count} separate regions, expected another number for each nucleus; "
            "with --label-values regions, each region is a nucleus; with --label-values "
            "foreground, touching nuclei may be one region"
        )


def _check_not_photo(crops: list[Crop], pixels: int) -> None:
    fills = [crop.area / crop.mask.size for crop in crops]
    is_scattered = len(crops) > 9 and np.median(fills) < MIN_FILL
    if len(crops) > max(9, pixels / MIN_MEAN_AREA) or is_scattered:
        raise ValueError(
            f"{len(crops)} different values, scattered over {pixels} pixels, expected a label "
            "image with one number for each nucleus, not a photo"
        )
