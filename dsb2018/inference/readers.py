"""From files to pictures: how each kind of image file is opened.

PNG, JPEG, BMP and what else OpenCV reads are decoded whole; TIFF (also OME, ImageJ, BigTIFF,
pyramids) through `tifffile` and OME-Zarr through `zarr` are read in windows.
"""

import warnings
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import tifffile
import zarr
from PIL import Image as PillowImage

from dsb2018.inference.finding import TIFF
from dsb2018.inference.pictures import Picture

# More are not decoded whole: a file of some kilobytes can pretend to be any number.
MOST_PIXELS = 1 << 27
SMALL = 1 << 26  # bytes; arrays up to this are read at once
MICROMETRES = {
    **dict.fromkeys(("µm", "μm", "um", "micron", "microns", "micrometer", "micrometre"), 1.0),
    **dict.fromkeys(("nm", "nanometer"), 1e-3),
    **dict.fromkeys(("mm", "millimeter"), 1e3),
    **dict.fromkeys(("cm", "centimeter"), 1e4),
}


def open_picture(name: str, path: Path) -> list[Picture]:
    """Opens an image file. Time points are pictures of their own.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not an image that can be read, or an empty one.
    """
    if not path.exists():
        raise FileNotFoundError(f"{path}: no such file")
    kind: Callable[[str, Path], Picture] = _open_raster
    if path.is_dir():
        kind = _open_zarr
    elif path.suffix.lower() in TIFF:
        kind = _open_tiff
    try:
        picture = kind(name, path)
    except (MemoryError, KeyboardInterrupt):
        raise
    except Exception as error:  # readers raise whatever they like
        if str(error).startswith(f"{path}: "):
            raise
        reason = str(error).strip().split("\n")[0] or type(error).__name__
        raise ValueError(f"{path}: not an image that can be read ({reason})") from error
    if not min(picture.array.shape, default=0):
        raise ValueError(f"{path}: an image without pixels, {picture.array.shape}")
    if picture.dtype.kind not in "uifb":
        raise ValueError(f"{path}: pixels of {picture.dtype}, expected real numbers")
    return list(_split(picture))


def _split(picture: Picture) -> Iterator[Picture]:
    """A picture for each time point."""
    if "T" not in picture.axes:
        yield picture
        return
    count = picture.length("T")
    for time in range(count):
        name = picture.name if count == 1 else f"{picture.name}_t{time:04d}"
        yield replace(picture, name=name, fixed={**picture.fixed, "T": time})


def _open_raster(name: str, path: Path) -> Picture:
    data = path.read_bytes()
    if not data:
        raise ValueError("an empty file")
    _check_size(path)
    pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    if pixels is None:
        raise ValueError("damaged, or of an unknown kind")
    if pixels.ndim == 3:
        pixels = pixels[..., 2::-1] if pixels.shape[2] >= 3 else pixels[..., 0]  # BGR(A) to RGB
        if pixels.ndim == 3 and not np.ptp(pixels, axis=2).any():  # grey, saved as colour
            pixels = np.ascontiguousarray(pixels[..., 0])
    return Picture(name, path, pixels, "YXS"[: pixels.ndim])


def _check_size(path: Path) -> None:
    """
    Raises:
        ValueError: too many pixels to decode them all.
    """
    try:
        with warnings.catch_warnings(action="ignore"), PillowImage.open(path) as header:
            count = int(np.prod(header.size))  # no pixels are read
    except PillowImage.DecompressionBombError:
        count = MOST_PIXELS + 1
    if count > MOST_PIXELS:
        raise ValueError(
            f"more than {MOST_PIXELS // 10**6} million pixels, which are not read from this kind "
            "of file; save it as tiled TIFF or OME-Zarr"
        )


def _open_tiff(name: str, path: Path) -> Picture:
    with tifffile.TiffFile(path) as file:
        series = file.series[0]
        page = series.keyframe
        details = {**_imagej_details(file), **_ome_details(file)}
        axes = _name_pages(series.axes)
        # ImageJ's tables of colours are for the screen.
        palette = None if file.is_imagej or page.photometric != 3 else page.colormap
        alpha = any(int(each) in (1, 2) for each in page.extrasamples or ())
        is_contiguous = series.dataoffset is not None
        if palette is not None and np.prod(series.shape) > MOST_PIXELS:
            raise ValueError("a palette, and too many pixels; save it as grey or colour")
        whole = series.nbytes <= SMALL or palette is not None
        array = series.asarray() if whole else None
    if array is None and is_contiguous:  # one block, of which Zarr would read all
        array = tifffile.memmap(path, series=0, mode="r")
    elif array is None:
        array = zarr.open(tifffile.imread(path, aszarr=True, series=0, level=0), mode="r")
    if palette is not None:  # index → red, green, blue
        array, axes = np.moveaxis(palette[:, array], 0, -1).astype(np.uint16), axes + "S"
    axes, fixed = _understand(axes, array.shape, path)
    if alpha and "S" in axes:
        array = _Samples(array, axes.index("S"))
        array = array[(slice(None),) * len(axes)] if whole else array
    return Picture(name, path, array, axes, fixed, **details)


def _name_pages(axes: str) -> str:
    """Pages that nobody says anything of (Q and I) are slices; of two such axes the first is
    time."""
    axes = axes.replace("I", "Q")
    if axes.count("Q") == 2 and not set(axes) & set("TZ"):
        return axes.replace("Q", "T", 1).replace("Q", "Z")
    return axes.replace("Q", "Z")


def _understand(axes: str, shape: tuple[int, ...], path: Path) -> tuple[str, dict[str, int]]:
    """Axes of one length are held at 0; others than known ones must not be longer."""
    twice = sorted({axis for axis in axes if axes.count(axis) > 1})
    if twice or ("C" in axes and "S" in axes):
        raise ValueError(f"{path}: axes {axes} of {shape}, expected some of TZCYX, or TZYXS")
    fixed = {}
    for axis, length in zip(axes, shape, strict=True):
        if axis not in "YXZCST":
            if length > 1:
                raise ValueError(f"{path}: an axis {axis!r} of {length}, expected some of TZCYXS")
            fixed[axis] = 0
        elif length == 1 and axis in "ZT":
            fixed[axis] = 0
    if "Y" not in axes or "X" not in axes:
        raise ValueError(f"{path}: axes {axes}, expected Y and X among them")
    return axes, fixed


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


def _ome_details(file: tifffile.TiffFile) -> dict:
    if not file.is_ome:
        return {}
    image = tifffile.xml2dict(file.ome_metadata)["OME"]["Image"]
    pixels = (image[0] if isinstance(image, list) else image)["Pixels"]

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


def _open_zarr(name: str, path: Path) -> Picture:
    node = zarr.open(path, mode="r")
    if isinstance(node, zarr.Array):
        axes = "TCZYX"[-node.ndim :]
        return Picture(name, path, node, *_understand(axes, node.shape, path))
    attributes = dict(node.attrs)
    attributes = attributes.get("ome", attributes)  # since version 0.5 of OME-NGFF
    if "multiscales" not in attributes:
        raise ValueError(f"{path}: a Zarr group without `multiscales`, expected OME-Zarr")
    scales = attributes["multiscales"][0]
    level = scales["datasets"][0]
    array = node[level["path"]]
    given = scales.get("axes") or list("tczyx"[-array.ndim :])
    axes = [each if isinstance(each, str) else each["name"] for each in given]
    units = [MICROMETRES.get(e.get("unit", ""), 0.0) if isinstance(e, dict) else 0.0 for e in given]
    transforms = level.get("coordinateTransformations", [])
    scale = next((each["scale"] for each in transforms if each["type"] == "scale"), None)
    lengths = dict.fromkeys(axes, 0.0)
    if scale:
        lengths = {a: s * u for a, s, u in zip(axes, scale, units, strict=True)}
    names = [str(c.get("label", "")) for c in attributes.get("omero", {}).get("channels", [])]
    letters = "".join(axes).upper()
    return Picture(
        name,
        path,
        array,
        *_understand(letters, array.shape, path),
        pixel_size=(lengths["y"], lengths["x"]) if lengths["y"] and lengths["x"] else None,
        slice_distance=lengths.get("z") or None,
        channels=tuple(names) if all(names) else (),
    )
