"""TIFF in all its kinds, through `tifffile`; large ones are read in windows."""

import logging
import math
import struct
from pathlib import Path

import numpy as np
import tifffile
import zarr

from dsb2018.inference.microscopy_image import SMALL, AbsentTiles, MicroscopyImage
from dsb2018.inference.readers.axes import MICROMETRES, understand_axes
from dsb2018.io.images import MOST_PIXELS

TIFF = (".tif", ".tiff", ".btf", ".tf8", ".lsm", ".stk", ".svs", ".ndpi", ".scn")
MANY = ("ome", "shaped")  # kinds of file whose series are all images of their own
LARGEST_BLOCK = 1 << 30  # bytes of a strip or tile
ALONE = {"_multifile": False}  # the other files of a set are opened on their own
logger = logging.getLogger(__name__)


def open_tiff(name: str, path: Path) -> list[MicroscopyImage]:
    """Opens a file: each image of an OME-TIFF, else its first one, which others only show smaller.

    Of an OME-TIFF of several files it is what is in this one.

    Raises:
        ValueError: axes that are not understood, or a palette for too many pixels; and whatever
            `tifffile` raises of damaged files.
    """
    with tifffile.TiffFile(path, **ALONE) as file:
        check_pages(file)
        count = len(file.series)
        if count > 1 and file.series[0].kind not in MANY:
            if file.series[0].kind == "generic":
                logger.warning("%s: pages of other sizes than the first are left out", path)
            count = 1
        return [
            _open_series(file, path, number, name if count == 1 else f"{name}_s{number:04d}", count)
            for number in range(count)
        ]


def check_pages(file: tifffile.TiffFile) -> None:
    """Follows the chain of a file's pages, which `tifffile` would follow without end in a circle.

    Raises:
        ValueError: a page leads back to an earlier one.
    """
    form, handle = file.tiff, file.filehandle
    if form.is_ndpi:  # whose offsets have another size
        return

    def number(place: int, code: str, size: int) -> int:
        handle.seek(place)
        data = handle.read(size)
        return struct.unpack(code, data)[0] if len(data) == size else 0

    offset, seen = number(4 if form.version == 42 else 8, form.offsetformat, form.offsetsize), set()
    while offset:
        if offset in seen:
            raise ValueError("damaged, its pages lead back to an earlier one")
        seen.add(offset)
        end = form.tagnosize + form.tagsize * number(offset, form.tagnoformat, form.tagnosize)
        offset = number(offset + end, form.offsetformat, form.offsetsize)


def _open_series(
    file: tifffile.TiffFile, path: Path, number: int, name: str, count: int
) -> MicroscopyImage:
    series = file.series[number]
    page = series.keyframe
    _check_blocks(page)
    # ImageJ's tables of colours are for the screen.
    palette = None if file.is_imagej or page.photometric != 3 else page.colormap
    alpha = any(int(each) in (1, 2) for each in page.extrasamples or ())
    if palette is not None and np.prod(series.shape) > MOST_PIXELS:
        raise ValueError("a palette, and too many pixels; save it as grey or colour")
    whole = series.nbytes * count <= SMALL or palette is not None
    array, axes = _open_array(file, number, whole), _name_pages(series.axes)
    if palette is not None:  # index → red, green, blue
        array, axes = np.moveaxis(palette[:, array], 0, -1).astype(np.uint16), axes + "S"
    axes, fixed = understand_axes(axes, array.shape, path)
    if alpha and "S" in axes:
        array = _Samples(array, axes.index("S"))
        array = array[(slice(None),) * len(axes)] if whole else array
    details = _details(file, number)
    absent = None if whole else _absent_tiles(series)
    return MicroscopyImage(name, path, array, axes, fixed, absent=absent, **details)


def _check_blocks(page: tifffile.TiffPage) -> None:
    """Checks strips or tiles before memory is taken for them.

    Raises:
        ValueError: too large ones, or fewer than the size of the image needs.
    """
    size, count = math.prod(page.chunks) * page.dtype.itemsize, math.prod(page.chunked)
    if page.is_memmappable:
        return
    if size > LARGEST_BLOCK:
        raise ValueError(f"it is compressed in blocks of {size / 1e6:.0f} MB; save it in tiles")
    if len(page.databytecounts) < count:
        raise ValueError(f"damaged, it has {len(page.databytecounts)} of {count} blocks")


def _absent_tiles(series: tifffile.TiffPageSeries) -> AbsentTiles | None:
    """The tiles without bytes of a series of one page; None where there are none."""
    page = series.keyframe
    if len(series.pages) > 1 or not page.is_tiled or page.tiledepth > 1:
        return None
    rows, columns = -(-page.imagelength // page.tilelength), -(-page.imagewidth // page.tilewidth)
    counts = np.asarray(page.databytecounts)
    if not len(counts) or len(counts) % (rows * columns) or counts.all():
        return None
    absent = (counts.reshape(-1, rows, columns) == 0).all(axis=0)  # planes of colour apart
    return AbsentTiles(absent, page.tilelength, page.tilewidth)


def _open_array(file: tifffile.TiffFile, number: int, whole: bool):
    """All pixels, or something that reads those that are wanted."""
    series = file.series[number]
    if whole:
        return series.asarray()
    if series.dataoffset is not None:  # one block, of which Zarr would read all
        dtype = series.dtype.newbyteorder(file.byteorder)
        path = file.filehandle.path
        return np.memmap(path, dtype, "r", series.dataoffset, series.shape)
    if not series.keyframe.is_tiled:  # each window would decode whole rows: once, into a file
        return series.asarray(out="memmap")
    path = file.filehandle.path
    store = tifffile.imread(path, aszarr=True, series=number, level=0, **ALONE)
    return zarr.open(store, mode="r")


def _name_pages(axes: str) -> str:
    """Pages that nobody says anything of (Q and I) are slices; of two such axes the first is
    time."""
    axes = axes.replace("I", "Q")
    if axes.count("Q") == 2 and not set(axes) & set("TZ"):
        return axes.replace("Q", "T", 1).replace("Q", "Z")
    return axes.replace("Q", "Z")


class _Samples:
    """An array without its last sample, which is alpha and no colour; read when it is wanted."""

    def __init__(self, array, place: int):
        self._array, self._place = array, place
        self.dtype = array.dtype
        self.shape = tuple(n - (axis == place) for axis, n in enumerate(array.shape))

    def __getitem__(self, key: tuple) -> np.ndarray:
        if key[self._place] == slice(None):
            count = self.shape[self._place]
            key = (*key[: self._place], slice(0, count), *key[self._place + 1 :])
        return self._array[key]


def _details(file: tifffile.TiffFile, number: int) -> dict:
    """Size of a pixel and names of channels; a file that says them wrongly says nothing."""
    try:
        return {**_imagej_details(file), **_ome_details(file, number)}
    except (ValueError, TypeError, KeyError, LookupError, AttributeError) as error:
        logger.warning("%s: details that cannot be read (%s)", file.filename, error)
        return {}


def _ome_details(file: tifffile.TiffFile, number: int) -> dict:
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
    names = tuple(str(each.get("Name", "")) for each in channels)
    y, x = size("Y"), size("X")
    return {
        "pixel_size": (y, x) if y and x else None,
        "slice_distance": size("Z"),
        "channels": names if all(names) else (),
    }


def _imagej_details(file: tifffile.TiffFile) -> dict:
    if not file.is_imagej:
        return {}
    details = file.imagej_metadata or {}
    unit = MICROMETRES.get(str(details.get("unit", "")).replace("\\u00B5", "µ"))
    tags = file.pages[0].tags
    if not unit or "XResolution" not in tags:
        return {}
    (x, x_per), (y, y_per) = tags["XResolution"].value, tags["YResolution"].value
    spacing = details.get("spacing")
    return {
        "pixel_size": (y_per / y * unit, x_per / x * unit) if x and y else None,
        "slice_distance": float(spacing) * unit if spacing else None,
    }
