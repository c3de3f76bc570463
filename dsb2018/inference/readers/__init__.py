"""From files to pictures: how each kind of image file is opened.

PNG, JPEG, BMP and what else OpenCV reads are decoded whole; TIFF (also OME, ImageJ, BigTIFF,
pyramids) through `tifffile` and OME-Zarr through `zarr` are read in windows.
"""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

from dsb2018.files import check_regular_file
from dsb2018.inference.pictures import Picture
from dsb2018.inference.readers.ome_zarr import open_zarr
from dsb2018.inference.readers.raster import open_raster
from dsb2018.inference.readers.tiff import TIFF, open_tiff

MOST_TIMES = 100_000  # of a file


def open_picture(name: str, path: Path) -> list[Picture]:
    """Opens an image file. Time points, and the images of an OME-TIFF, are pictures of their own.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not an image that can be read, or an empty one.
    """
    if not path.exists():
        raise FileNotFoundError(f"{path}: no such file")
    kind: Callable[[str, Path], list[Picture]] = open_raster
    if path.is_dir():
        kind = open_zarr
    elif path.suffix.lower() in TIFF:
        kind = open_tiff
    try:
        if not path.is_dir():
            check_regular_file(path)
        pictures = kind(name, path)
    except (MemoryError, KeyboardInterrupt):
        raise
    except Exception as error:  # readers raise whatever they like
        if str(error).startswith(f"{path}: "):
            raise
        reason = str(error).strip().split("\n")[0] or type(error).__name__
        raise ValueError(f"{path}: not an image that can be read ({reason})") from error
    for picture in pictures:
        if not min(picture.array.shape, default=0):
            raise ValueError(f"{path}: an image without pixels, {picture.array.shape}")
        if picture.dtype.kind not in "uifb":
            raise ValueError(f"{path}: pixels of {picture.dtype}, expected real numbers")
    if not pictures:
        raise ValueError(f"{path}: no image in it")
    times = sum(picture.length("T") if "T" in picture.axes else 1 for picture in pictures)
    if times > MOST_TIMES:
        raise ValueError(f"{path}: {times} time points, expected at most {MOST_TIMES}")
    pictures = [replace(picture, **_sizes(picture)) for picture in pictures]
    return [each for picture in pictures for each in _split(picture)]


def _sizes(picture: Picture) -> dict:
    """Sizes that make sense; a file that says them wrongly says nothing."""

    def is_length(value: float | None) -> bool:
        return value is not None and 1e-6 < value < 1e6  # micrometres; also of NaN False

    size = picture.pixel_size
    return {
        "pixel_size": size if size and all(map(is_length, size)) else None,
        "slice_distance": picture.slice_distance if is_length(picture.slice_distance) else None,
    }


def _split(picture: Picture) -> Iterator[Picture]:
    """A picture for each time point."""
    count = picture.length("T") if "T" in picture.axes else 1
    if count == 1:  # then that axis is held already
        yield picture
        return
    for time in range(count):
        fixed = {**picture.fixed, "T": time}
        yield replace(picture, name=f"{picture.name}_t{time:04d}", fixed=fixed)
