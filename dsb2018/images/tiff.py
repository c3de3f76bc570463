"""Reader of TIFF files, through `tifffile`. Large files are read in windows."""

import logging
import math
import struct
from pathlib import Path

import numpy as np
import tifffile

from dsb2018.images.axes import MICROMETRES, understand_axes
from dsb2018.images.microscopy_image import SMALL, AbsentTiles, MicroscopyImage
from dsb2018.io.png import MOST_PIXELS

TIFF = (".tif", ".tiff", ".btf", ".tf8", ".lsm", ".stk", ".svs", ".ndpi", ".scn")
SEPARATE_SERIES = ("ome", "shaped")  # kinds of files in which each series is a separate image
MAX_BLOCK_SIZE = 1 << 30  # of a strip or tile, bytes
SINGLE_FILE = {"_multifile": False}  # do not open the other files of an OME-TIFF of several files
logger = logging.getLogger(__name__)


def open_tiff(name: str, path: Path) -> list[MicroscopyImage]:
    """Opens a TIFF file.

    Returns:
        All images of an OME-TIFF. If the OME-TIFF consists of several files, these are the images
        of this file. Of other files, only the first image: the others are usually smaller copies.

    Raises:
        ValueError: the axes are not supported, or a palette image has too many pixels. `tifffile`
            raises other errors for damaged files.
    """
    with tifffile.TiffFile(path, **SINGLE_FILE) as file:
        check_pages(file)
        count = len(file.series)
        if count > 1 and file.series[0].kind not in SEPARATE_SERIES:
            if file.series[0].kind == "generic":
                logger.warning("%s: pages of another size than the first are skipped", path)
            count = 1
        return [
            _open_series(file, path, number, name if count == 1 else f"{name}_s{number:04d}", count)
            for number in range(count)
        ]


def check_pages(file: tifffile.TiffFile) -> None:
    """Checks that the linked list of pages has an end. `tifffile` would follow a cycle forever.

    Raises:
        ValueError: a page links back to an earlier page.
    """
    layout, handle = file.tiff, file.filehandle
    if layout.is_ndpi:  # NDPI files have offsets of another size
        return

    def read_number(position: int, code: str, size: int) -> int:
        handle.seek(position)
        data = handle.read(size)
        return struct.unpack(code, data)[0] if len(data) == size else 0

    first_position = 4 if layout.version == 42 else 8
    offset, seen = read_number(first_position, layout.offsetformat, layout.offsetsize), set()
    while offset:
        if offset in seen:
            raise ValueError("damaged, a page links back to an earlier page")
        seen.add(offset)
        tag_count = read_number(offset, layout.tagnoformat, layout.tagnosize)
        next_position = offset + layout.tagnosize + layout.tagsize * tag_count
        offset = read_number(next_position, layout.offsetformat, layout.offsetsize)


def _open_series(
    file: tifffile.TiffFile, path: Path, number: int, name: str, count: int
) -> MicroscopyImage:
    series = file.series[number]
    page = series.keyframe
    _check_blocks(page)
    # ImageJ's color tables only affect the display.
    palette = None if file.is_imagej or page.photometric != 3 else page.colormap
    alpha = any(int(sample) in (1, 2) for sample in page.extrasamples or ())
    if palette is not None and np.prod(series.shape) > MOST_PIXELS:
        raise ValueError(
            f"a palette image of more than {MOST_PIXELS // 10**6} million pixels; save it as "
            "a gray or RGB image"
        )
    whole = series.nbytes * count <= SMALL or palette is not None
    array, axes = _open_array(file, number, whole), _name_unknown_axes(series.axes)
    if palette is not None:  # index → red, green, blue
        array, axes = np.moveaxis(palette[:, array], 0, -1).astype(np.uint16), axes + "S"
    axes, fixed = understand_axes(axes, array.shape, path)
    if alpha and "S" in axes:
        array = _WithoutLastSample(array, axes.index("S"))
        array = array[(slice(None),) * len(axes)] if whole else array
    metadata = _read_metadata(file, number)
    absent = None if whole else _absent_tiles(series)
    return MicroscopyImage(name, path, array, axes, fixed, absent=absent, **metadata)


def _check_blocks(page: tifffile.TiffPage) -> None:
    """Checks the strips or tiles of a page before memory is allocated.

    Raises:
        ValueError: they are too large, or some are missing.
    """
    size, count = math.prod(page.chunks) * page.dtype.itemsize, math.prod(page.chunked)
    if page.is_memmappable:
        return
    if size > MAX_BLOCK_SIZE:
        raise ValueError(
            f"it is compressed in blocks of {size / 1e6:.0f} MB, expected at most "
            f"{MAX_BLOCK_SIZE / 1e6:.0f} MB; save it in tiles"
        )
    if len(page.databytecounts) < count:
        raise ValueError(f"damaged, the file has {len(page.databytecounts)} of {count} blocks")


def _absent_tiles(series: tifffile.TiffPageSeries) -> AbsentTiles | None:
    """Returns the tiles without data of a series; None if there are none or several pages."""
    page = series.keyframe
    if len(series.pages) > 1 or not page.is_tiled or page.tiledepth > 1:
        return None
    rows, columns = -(-page.imagelength // page.tilelength), -(-page.imagewidth // page.tilewidth)
    counts = np.asarray(page.databytecounts)
    if not len(counts) or len(counts) % (rows * columns) or counts.all():
        return None
    absent = (counts.reshape(-1, rows, columns) == 0).all(axis=0)  # over separate color planes
    return AbsentTiles(absent, page.tilelength, page.tilewidth)


def _open_array(file: tifffile.TiffFile, number: int, whole: bool):
    """Returns all pixels of a series, or an array that reads the requested pixels from the file."""
    series = file.series[number]
    if whole:
        return series.asarray()
    if series.dataoffset is not None:  # one contiguous block, which Zarr would read as a whole
        dtype = series.dtype.newbyteorder(file.byteorder)
        path = file.filehandle.path
        return np.memmap(path, dtype, "r", series.dataoffset, series.shape)
    if not series.keyframe.is_tiled:  # decode once into a temporary file, not for each window
        return series.asarray(out="memmap")
    import zarr  # takes a while, and only tiled files need it

    path = file.filehandle.path
    store = tifffile.imread(path, aszarr=True, series=number, level=0, **SINGLE_FILE)
    return zarr.open(store, mode="r")


def _name_unknown_axes(axes: str) -> str:
    """Interprets unknown axes of pages (Q and I) as slices; the first of two as time."""
    axes = axes.replace("I", "Q")
    if axes.count("Q") == 2 and not set(axes) & set("TZ"):
        return axes.replace("Q", "T", 1).replace("Q", "Z")
    return axes.replace("Q", "Z")


class _WithoutLastSample:
    """An array without its last sample, the alpha channel. Pixels are read when it is indexed.

    Args:
        array: NumPy array, memory map or Zarr array.
        axis: index of the sample axis.
    """

    def __init__(self, array, axis: int):
        self._array, self._axis = array, axis
        self.dtype = array.dtype
        self.shape = tuple(n - (i == axis) for i, n in enumerate(array.shape))

    def __getitem__(self, key: tuple) -> np.ndarray:
        if key[self._axis] == slice(None):
            count = self.shape[self._axis]
            key = (*key[: self._axis], slice(0, count), *key[self._axis + 1 :])
        return self._array[key]


def _read_metadata(file: tifffile.TiffFile, number: int) -> dict:
    """Reads pixel size, slice distance and channel names; returns {} if they are invalid."""
    try:
        return {**_imagej_metadata(file), **_ome_metadata(file, number)}
    except (ValueError, TypeError, KeyError, LookupError, AttributeError) as error:
        logger.warning("%s: pixel size and channel names cannot be read (%s)", file.filename, error)
        return {}


def _ome_metadata(file: tifffile.TiffFile, number: int) -> dict:
    if not file.is_ome:
        return {}
    image = tifffile.xml2dict(file.ome_metadata)["OME"]["Image"]
    pixels = (image[number] if isinstance(image, list) else image)["Pixels"]

    def size(axis: str) -> float | None:
        unit = MICROMETRES.get(pixels.get(f"PhysicalSize{axis}Unit", "µm"))
        value = pixels.get(f"PhysicalSize{axis}")
        return float(value) * unit if value and unit else None

    channels = pixels.get("Channel", [])
    channels = channels if isinstance(channels, list) else [channels]
    names = tuple(str(channel.get("Name", "")) for channel in channels)
    y, x = size("Y"), size("X")
    return {
        "pixel_size": (y, x) if y and x else None,
        "slice_distance": size("Z"),
        "channels": names if all(names) else (),
    }


def _imagej_metadata(file: tifffile.TiffFile) -> dict:
    if not file.is_imagej:
        return {}
    metadata = file.imagej_metadata or {}
    unit = MICROMETRES.get(str(metadata.get("unit", "")).replace("\\u00B5", "µ"))
    tags = file.pages[0].tags
    if not unit or "XResolution" not in tags:
        return {}
    (x, x_per), (y, y_per) = tags["XResolution"].value, tags["YResolution"].value
    spacing = metadata.get("spacing")
    return {
        "pixel_size": (y_per / y * unit, x_per / x * unit) if x and y else None,
        "slice_distance": float(spacing) * unit if spacing else None,
    }
