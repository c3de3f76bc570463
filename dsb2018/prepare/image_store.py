"""Decides where the pixels of a prepared image are read from, and copies them if necessary.

Images that are quick to read stay where they are. Others are written to the prepared root as
`.npy`, which training reads in a fraction of the time: TIFF files, and the nuclear channel of
images with several channels. The gray values are never changed.
"""

import hashlib
import io
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import numpy as np

from dsb2018.errors import InputError
from dsb2018.images.pixels import read_pixels
from dsb2018.images.raster import RASTER
from dsb2018.io.names import file_name
from dsb2018.prepare.input_files import InputFiles
from dsb2018.prepare.png_files import png_size

QUICK = (*RASTER, ".npy")  # formats that training reads directly


class StoredImage(NamedTuple):
    """Where an image is read from.

    Args:
        file_name: path relative to the input folder, or to the prepared root if it was copied.
        height, width: pixels.
    """

    file_name: str
    height: int
    width: int


@dataclass(frozen=True)
class ImageStore:
    """Stores images. Is pickled once per process.

    Args:
        staging: folder for copied images, with the subfolder `images`.
        channel: index or name of the nuclear channel; None: see `choose_channel`.
        keep: whether the images stay where they are, see `can_stay`.
    """

    staging: Path
    channel: str | None
    keep: bool

    def __call__(self, files: InputFiles, name: str, image_id: str) -> StoredImage:
        """Checks and stores an image.

        Raises:
            InputError: the file cannot be read, is not one 2-D image, has several channels of which
                none is chosen, or has pixels that are NaN or infinite.
        """
        location = files.location(name)
        if _suffix(name) == ".png" and self.channel is None:  # checked without decoding it
            data = files.read(name)
            height, width = png_size(data, location)
        else:
            pixels = self._read(files, name)
            height, width = pixels.shape[:2]
            data = b""
        if self.keep:
            return StoredImage(name, height, width)
        suffix = _suffix(name)
        if self.channel is not None or suffix not in QUICK:
            data, suffix = _to_npy(pixels), ".npy"
        elif not data:
            data = files.read(name)
        # The digest distinguishes images of several inputs that have the same id.
        copy = f"images/{file_name(image_id)}.{digest(data)}{suffix}"
        (self.staging / copy).write_bytes(data)
        return StoredImage(copy, height, width)

    def _read(self, files: InputFiles, name: str) -> np.ndarray:
        location = files.location(name)
        try:
            with files.on_disk(name) as path:
                pixels = read_pixels(path, self.channel)
        except InputError:
            raise
        except (ValueError, OSError) as error:
            reason = str(error).replace(f"{path}: ", "")
            raise InputError(location, reason) from error
        if not np.isfinite(pixels).all():
            raise InputError(location, "pixels that are NaN or infinite", "replace them")
        return pixels


def can_stay(files: InputFiles, names: Iterable[str], channel: str | None) -> bool:
    """Whether all images can be read quickly where they are."""
    return not files.is_archive and channel is None and all(_suffix(n) in QUICK for n in names)


def _suffix(name: str) -> str:
    return PurePosixPath(name).suffix.lower()


def _to_npy(pixels: np.ndarray) -> bytes:
    """Encodes (H, W, 1 or 3) pixels as (H, W) or (H, W, 3)."""
    file = io.BytesIO()
    np.save(file, np.ascontiguousarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels))
    return file.getvalue()


def digest(data: bytes) -> str:
    """Returns a short hash of the content of a file for its name."""
    return hashlib.sha256(data).hexdigest()[:12]
