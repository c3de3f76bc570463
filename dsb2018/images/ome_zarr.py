"""Reader of OME-Zarr, also of plates, and of plain Zarr arrays. Images are read in windows."""

import math
from pathlib import Path
from typing import TYPE_CHECKING

from dsb2018.images.axes import MICROMETRES, understand_axes
from dsb2018.images.microscopy_image import MicroscopyImage
from dsb2018.images.remote import is_remote
from dsb2018.io.files import check_regular_tree
from dsb2018.io.names import is_inside

if TYPE_CHECKING:  # takes half a second, and only Zarr files need it
    import zarr

MAX_PIXELS, MAX_CHUNKS = 1 << 40, 10_000_000  # of an array
MAX_CHUNK_SIZE = 1 << 30  # bytes


def open_zarr(name: str, path: Path) -> list[MicroscopyImage]:
    """Opens a Zarr array, or an OME-Zarr image at its full resolution.

    Raises:
        ValueError: the store contains no image, or its axes are not supported. `zarr` raises other
            errors for damaged stores.
    """
    import zarr

    node = _open_node(path)
    if isinstance(node, zarr.Array):
        _check_array(node)
        return [
            MicroscopyImage(name, path, node, *understand_axes(_name_axes(node), node.shape, path))
        ]
    attributes = ome_attributes(node)
    if "multiscales" not in attributes:
        raise ValueError(f"{path}: a Zarr group without `multiscales`, expected OME-Zarr")
    scales = attributes["multiscales"][0]
    level = scales["datasets"][0]
    array = node[level["path"]]
    _check_array(array)
    # An axis is a dict, or only a name in old versions.
    axes = [
        {"name": axis} if isinstance(axis, str) else axis
        for axis in scales.get("axes") or "tczyx"[-array.ndim :]
    ]
    names = [axis["name"] for axis in axes]
    units = [MICROMETRES.get(axis.get("unit", ""), 0.0) for axis in axes]
    lengths = dict(zip(names, units, strict=True))
    for transforms in (level, scales):  # the scale of this level, and the scale of all levels
        for transform in transforms.get("coordinateTransformations", []):
            if transform["type"] == "scale":
                factors = zip(names, transform["scale"], strict=True)
                lengths = {name: lengths[name] * factor for name, factor in factors}
    if not level.get("coordinateTransformations"):
        lengths = dict.fromkeys(names, 0.0)  # without a scale, the size is unknown
    omero_channels = attributes.get("omero", {}).get("channels", [])
    channels = [str(channel.get("label", "")) for channel in omero_channels]
    letters = "".join(names).upper()
    image = MicroscopyImage(
        name,
        path,
        array,
        *understand_axes(letters, array.shape, path),
        pixel_size=(lengths["y"], lengths["x"]) if lengths["y"] and lengths["x"] else None,
        slice_distance=lengths.get("z") or None,
        channels=tuple(channels) if all(channels) else (),
    )
    return [image]


def _open_node(path: Path) -> "zarr.Array | zarr.Group":
    import zarr

    if is_remote(path):
        return zarr.open(str(path), mode="r")
    check_regular_tree(path)
    return zarr.open(path, mode="r")


def _check_array(array: "zarr.Array") -> None:
    """Checks the size of an array before memory is allocated.

    Raises:
        ValueError: the array has too many pixels or chunks, or its chunks are too large.
    """
    pixels, chunk = math.prod(array.shape), math.prod(array.chunks)
    text = f"an array of shape {array.shape} in chunks of shape {array.chunks}"
    if pixels > MAX_PIXELS:
        raise ValueError(f"{text}, expected at most {MAX_PIXELS} pixels")
    if chunk * array.dtype.itemsize > MAX_CHUNK_SIZE:
        raise ValueError(f"{text}, expected chunks of at most {MAX_CHUNK_SIZE >> 20} MiB")
    if pixels > MAX_CHUNKS * chunk:
        raise ValueError(f"{text}, expected at most {MAX_CHUNKS} chunks")


def _name_axes(array: "zarr.Array") -> str:
    """Returns the axes of a plain Zarr array.

    They follow from the names of its dimensions, as Zarr 3 and xarray write them, or else from its
    shape.
    """
    metadata, attributes = array.metadata, array.attrs
    names = getattr(metadata, "dimension_names", None) or attributes.get("_ARRAY_DIMENSIONS")
    axes = "".join(str(name)[:1].upper() for name in names or ())
    if len(axes) == array.ndim and {"Y", "X"} <= set(axes) <= set("TZCYXS"):
        return axes
    if array.ndim == 3 and array.shape[-1] == 3:
        return "YXS"
    return "TCZYX"[-array.ndim :]


def find_in_zarr(path: Path) -> list[Path]:
    """Returns the images of a Zarr store: the fields of a plate, a series, or the store itself.

    A series contains numbered images, as bioformats2raw writes them.
    """
    import zarr

    try:
        node = _open_node(path)
        attributes = {} if isinstance(node, zarr.Array) else ome_attributes(node)
        groups: list[str] = []
        if "plate" in attributes:
            for well in (well["path"] for well in attributes["plate"]["wells"]):
                fields = ome_attributes(node[well])["well"]["images"] if well in node else []
                groups += [f"{well}/{field['path']}" for field in fields]
        elif "bioformats2raw.layout" in attributes and "multiscales" not in attributes:
            groups = sorted((key for key in node.group_keys() if key.isdigit()), key=int)
    except Exception:  # noqa: BLE001 decoders raise any error; `open_zarr` reports it
        groups = []
    return [path / group for group in groups if is_inside(group)] or [path]


def ome_attributes(node: "zarr.Group") -> dict:
    """Returns the OME-NGFF metadata of a group. Since version 0.5 it is under the key `ome`."""
    attributes = dict(node.attrs)
    return attributes.get("ome", attributes)
