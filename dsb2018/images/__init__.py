"""Readers of image files.

PNG, JPEG, BMP and other formats that OpenCV supports are decoded as a whole. TIFF files (also OME,
ImageJ, BigTIFF and pyramids) are read in windows by `tifffile`, and OME-Zarr by `zarr`. `bioio`
reads the files of microscope vendors. Training and prediction read images alike, see `pixels`.
"""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

from dsb2018.images.microscopy_image import MicroscopyImage
from dsb2018.images.numpy_file import open_numpy
from dsb2018.images.raster import RASTER, open_raster
from dsb2018.images.remote import is_remote
from dsb2018.images.tiff import TIFF, open_tiff
from dsb2018.images.vendor import PLUGINS, open_vendor_file
from dsb2018.io.files import check_regular_file

Reader = Callable[[str, Path], list[MicroscopyImage]]

#: The reader of each file extension. It takes the name of the results and the path.
READERS: dict[str, Reader] = {
    **dict.fromkeys(RASTER, open_raster),
    **dict.fromkeys(TIFF, open_tiff),
    ".npy": open_numpy,
    **dict.fromkeys(PLUGINS, open_vendor_file),
}
MAX_TIME_POINTS = 100_000  # of one file


def open_images(name: str, path: Path) -> list[MicroscopyImage]:
    """Opens an image file.

    Args:
        name: name of the results.
        path: the file or Zarr folder, or what `open_url` returned.

    Returns:
        The images of the file: one for each time point, and one for each image of an OME-TIFF.

    Raises:
        FileNotFoundError: the file does not exist.
        ImportError: the file needs a library that is not installed.
        ValueError: the file cannot be read as an image, or an image is empty.
    """
    is_store = is_remote(path) or path.is_dir()
    if not is_store and not path.exists():
        raise FileNotFoundError(f"{path}: no such file")
    reader = _open_folder if is_store else READERS.get(path.suffix.lower(), open_raster)
    try:
        if not is_store:
            check_regular_file(path)
        images = reader(name, path)
    except (ImportError, MemoryError, KeyboardInterrupt):
        raise
    except Exception as error:  # readers raise errors of any type
        if str(error).startswith(f"{path}: "):
            raise
        is_empty = not is_store and path.exists() and path.stat().st_size == 0
        reason = str(error).strip().split("\n")[0] or type(error).__name__
        reason = "the file is empty" if is_empty else reason
        raise ValueError(f"{path}: not a readable image ({reason})") from error
    for image in images:
        if not min(image.array.shape, default=0):
            raise ValueError(f"{path}: an empty image of shape {image.array.shape}")
        if image.dtype.kind not in "uifb":
            raise ValueError(f"{path}: pixels of dtype {image.dtype}, expected real numbers")
    if not images:
        raise ValueError(f"{path}: no image in the file")
    count = sum(image.length("T") if "T" in image.axes else 1 for image in images)
    if count > MAX_TIME_POINTS:
        raise ValueError(f"{path}: {count} time points, expected at most {MAX_TIME_POINTS}")
    images = [replace(image, **_valid_sizes(image)) for image in images]
    return [frame for image in images for frame in _split_time_points(image)]


def _open_folder(name: str, path: Path) -> list[MicroscopyImage]:
    from dsb2018.images.ome_zarr import open_zarr  # takes a while, and few commands need it

    return open_zarr(name, path)


def _valid_sizes(image: MicroscopyImage) -> dict:
    """Returns the pixel size and the slice distance of an image; None if they are implausible."""

    def is_length(value: float | None) -> bool:
        return value is not None and 1e-6 < value < 1e6  # micrometers; False for NaN

    size = image.pixel_size
    return {
        "pixel_size": size if size and all(map(is_length, size)) else None,
        "slice_distance": image.slice_distance if is_length(image.slice_distance) else None,
    }


def _split_time_points(image: MicroscopyImage) -> Iterator[MicroscopyImage]:
    """Iterates over the time points of an image, each as an image."""
    count = image.length("T") if "T" in image.axes else 1
    if count == 1:  # the time axis, if any, is already fixed
        yield image
        return
    for time in range(count):
        fixed = {**image.fixed, "T": time}
        yield replace(image, name=f"{image.name}_t{time:04d}", fixed=fixed)
