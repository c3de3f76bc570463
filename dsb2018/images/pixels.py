"""Reads the pixels of a whole image, the same for training, evaluation and prediction."""

import os
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from dsb2018.images import open_images
from dsb2018.images.false_color import only_stain
from dsb2018.images.microscopy_image import MicroscopyImage, choose_channel
from dsb2018.io.png import MOST_PIXELS
from dsb2018.structures.contrast import stretch_contrast

PICTURE_PERCENT = 0.1  # clipped by the contrast stretch of pictures for display


def open_plane(path: str | os.PathLike, channel: str | None = None) -> MicroscopyImage:
    """Opens a file that contains one 2-D image.

    Args:
        path: a file of any format that prediction reads.
        channel: index or name of the nuclear channel, see `choose_channel`.

    Raises:
        FileNotFoundError: the file does not exist.
        ValueError: the file cannot be read, contains several images or a stack, or has several
            channels of which none is chosen.
    """
    path = Path(path)
    images = open_images(path.stem, path)
    problem = f"{len(images)} images" if len(images) > 1 else ""
    if images[0].depth is not None:
        problem = f"a stack of {images[0].depth} slices"
    if problem:
        raise ValueError(f"{path}: {problem}, expected one 2-D image; save each one as a file")
    height, width = images[0].size
    if height * width > MOST_PIXELS:
        raise ValueError(
            f"{path}: {height} × {width} pixels, expected at most {MOST_PIXELS // 10**6} million; "
            "cut it into tiles"
        )
    return choose_channel(images[0], channel)


def read_pixels(path: str | os.PathLike, channel: str | None = None) -> np.ndarray:
    """Reads a file that contains one 2-D image.

    Args:
        path, channel: see `open_plane`.

    Returns:
        (H, W, 1) gray values or (H, W, 3) RGB, in the dtype of the file. An alpha channel is
        dropped, and an RGB image of gray pixels is returned with one channel.

    Raises:
        FileNotFoundError, ValueError: see `open_plane`.
    """
    image = open_plane(path, channel)
    return image.read(0, 0, *image.size)


def read_dataset_image(dataset_dict: Mapping) -> np.ndarray:
    """Reads the image of a dataset dict, see `read_pixels`.

    Fluorescence of a single stain in false color becomes gray, as in `choose_nuclear_channel`.

    Raises:
        FileNotFoundError: the file does not exist.
        ValueError: the file cannot be read, or its size is not that of the dict.
    """
    pixels = read_pixels(dataset_dict["file_name"])
    expected = dataset_dict["height"], dataset_dict["width"]
    if pixels.shape[:2] != expected:
        raise ValueError(
            f"{dataset_dict['file_name']}: {pixels.shape[:2]} pixels, expected {expected}; "
            "prepare the dataset again"
        )
    stain = only_stain(pixels) if pixels.shape[2] == 3 else None
    return pixels if stain is None else pixels[..., [stain]]


def read_picture(dataset_dict: Mapping) -> np.ndarray:
    """Reads the image of a dataset dict as people see it in reports: (H, W, 3) uint8 RGB.

    The contrast is stretched, so that images of any bit depth are visible.

    Raises:
        FileNotFoundError, ValueError: see `read_dataset_image`.
    """
    return stretch_contrast(read_dataset_image(dataset_dict), PICTURE_PERCENT)
