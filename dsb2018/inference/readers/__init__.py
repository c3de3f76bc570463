"""From files to images: how each kind of image file is opened.

PNG, JPEG, BMP and what else OpenCV reads are decoded whole; TIFF (also OME, ImageJ, BigTIFF,
pyramids) through `tifffile` and OME-Zarr through `zarr` are read in windows.
"""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

from dsb2018.inference.microscopy_image import MicroscopyImage
from dsb2018.inference.readers.ome_zarr import open_zarr
from dsb2018.inference.readers.raster import RASTER, open_raster
from dsb2018.inference.readers.tiff import TIFF, open_tiff
from dsb2018.io.files import check_regular_file

Reader = Callable[[str, Path], list[MicroscopyImage]]

# extension of a file → its reader, which takes the name of the results and the path
READERS: dict[str, Reader] = {
    **dict.fromkeys(RASTER, open_raster),
    **dict.fromkeys(TIFF, open_tiff),
}
MOST_TIMES = 100_000  # of a file


def open_images(name: str, path: Path) -> list[MicroscopyImage]:
    """Opens an image file. Time points, and the images of an OME-TIFF, are images of their own.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not an image that can be read, or an empty one.
    """
    if not path.exists():
        raise FileNotFoundError(f"{path}: no such file")
    reader = open_zarr if path.is_dir() else READERS.get(path.suffix.lower(), open_raster)
    try:
        if not path.is_dir():
            check_regular_file(path)
        images = reader(name, path)
    except (MemoryError, KeyboardInterrupt):
        raise
    except Exception as error:  # readers raise whatever they like
        if str(error).startswith(f"{path}: "):
            raise
        reason = str(error).strip().split("\n")[0] or type(error).__name__
        raise ValueError(f"{path}: not an image that can be read ({reason})") from error
    for image in images:
        if not min(image.array.shape, default=0):
            raise ValueError(f"{path}: an image without pixels, {image.array.shape}")
        if image.dtype.kind not in "uifb":
            raise ValueError(f"{path}: pixels of {image.dtype}, expected real numbers")
    if not images:
        raise ValueError(f"{path}: no image in it")
    times = sum(image.length("T") if "T" in image.axes else 1 for image in images)
    if times > MOST_TIMES:
        raise ValueError(f"{path}: {times} time points, expected at most {MOST_TIMES}")
    images = [replace(image, **_sizes(image)) for image in images]
    return [each for image in images for each in _split(image)]


def _sizes(image: MicroscopyImage) -> dict:
    """Sizes that make sense; a file that says them wrongly says nothing."""

    def is_length(value: float | None) -> bool:
        return value is not None and 1e-6 < value < 1e6  # micrometres; also of NaN False

    size = image.pixel_size
    return {
        "pixel_size": size if size and all(map(is_length, size)) else None,
        "slice_distance": image.slice_distance if is_length(image.slice_distance) else None,
    }


def _split(image: MicroscopyImage) -> Iterator[MicroscopyImage]:
    """A image for each time point."""
    count = image.length("T") if "T" in image.axes else 1
    if count == 1:  # then that axis is held already
        yield image
        return
    for time in range(count):
        fixed = {**image.fixed, "T": time}
        yield replace(image, name=f"{image.name}_t{time:04d}", fixed=fixed)
