"""Planes that were corrected by hand, in the form that `dsb2018 prepare` reads."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import tifffile

from dsb2018.images.microscopy_image import MicroscopyImage
from dsb2018.inference.export.label_images import write_labels
from dsb2018.io.files import replacing
from dsb2018.io.names import file_name
from dsb2018.structures.nuclei import Nuclei

IMAGES, MASKS = "images", "masks"  # folders


def save_correction(
    folder: Path, name: str, channel: MicroscopyImage, labels: np.ndarray
) -> tuple[Path, Path]:
    """Writes a plane and its nuclei. Files of the same plane are replaced.

    Args:
        folder: for `images` and `masks`; it is created.
        name: of the plane; unsafe characters are replaced.
        channel: the nuclear channel of the plane. If it is the amount of a stain, the colors are
            written.
        labels: (H, W) integers, 0 is background.

    Returns:
        The files of the image and of the nuclei.

    Raises:
        OSError: a file cannot be written.
        ValueError: there are no nuclei.
    """
    nuclei = Nuclei.from_labels(labels)
    if not len(nuclei):
        raise ValueError("there are no nuclei in this plane")
    paths = tuple(folder / part / f"{file_name(name)}.tif" for part in (IMAGES, MASKS))
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
    pixels = replace(channel, stain="").read(0, 0, *channel.size)
    if pixels.shape[2] == 1:
        pixels = pixels[..., 0]
    with replacing(paths[0]) as file:
        tifffile.imwrite(file, pixels, photometric="rgb" if pixels.ndim == 3 else "minisblack")
    write_labels(paths[1], nuclei, channel)
    return paths[0], paths[1]


def count_corrections(folder: Path) -> int:
    """Returns the number of planes in a folder of corrections."""
    return len(list((folder / MASKS).glob("*.tif")))
