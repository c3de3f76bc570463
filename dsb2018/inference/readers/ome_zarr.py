"""OME-Zarr, also what is in a plate, and plain Zarr arrays; read in windows."""

import math
from pathlib import Path

import zarr

from dsb2018.inference.microscopy_image import MicroscopyImage
from dsb2018.inference.readers.axes import MICROMETRES, understand_axes
from dsb2018.io.files import check_regular_tree
from dsb2018.io.names import is_inside

MOST_PIXELS, MOST_CHUNKS = 1 << 40, 10_000_000
LARGEST_BLOCK = 1 << 30  # bytes of a chunk


def open_zarr(name: str, path: Path) -> list[MicroscopyImage]:
    """Opens an array, or an image at its full resolution.

    Raises:
        ValueError: no image, or axes that are not understood; and whatever `zarr` raises of damaged
            stores.
    """
    check_regular_tree(path)
    node = zarr.open(path, mode="r")
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
    given = scales.get("axes") or list("tczyx"[-array.ndim :])
    axes = [each if isinstance(each, str) else each["name"] for each in given]
    units = [MICROMETRES.get(e.get("unit", ""), 0.0) if isinstance(e, dict) else 0.0 for e in given]
    lengths = dict(zip(axes, units, strict=True))
    for part in (level, scales):  # the scale of a level, and one for all levels
        for each in part.get("coordinateTransformations", []):
            if each["type"] == "scale":
                lengths = {a: lengths[a] * s for a, s in zip(axes, each["scale"], strict=True)}
    if not level.get("coordinateTransformations"):
        lengths = dict.fromkeys(axes, 0.0)  # units alone say nothing
    names = [str(c.get("label", "")) for c in attributes.get("omero", {}).get("channels", [])]
    letters = "".join(axes).upper()
    image = MicroscopyImage(
        name,
        path,
        array,
        *understand_axes(letters, array.shape, path),
        pixel_size=(lengths["y"], lengths["x"]) if lengths["y"] and lengths["x"] else None,
        slice_distance=lengths.get("z") or None,
        channels=tuple(names) if all(names) else (),
    )
    return [image]


def _check_array(array: zarr.Array) -> None:
    """Checks sizes before memory is taken for them.

    Raises:
        ValueError: more pixels than any microscope makes, or chunks that are too large or too many.
    """
    pixels, chunk = math.prod(array.shape), math.prod(array.chunks)
    if pixels > MOST_PIXELS or chunk * array.dtype.itemsize > LARGEST_BLOCK:
        raise ValueError(f"an array of {array.shape} in chunks of {array.chunks}: too large")
    if pixels > MOST_CHUNKS * chunk:
        raise ValueError(f"an array of {array.shape} in chunks of {array.chunks}: too many chunks")


def _name_axes(array: zarr.Array) -> str:
    """Of an array that is no OME-Zarr: its names of dimensions, as xarray writes them; else those
    that images usually have."""
    given = getattr(array.metadata, "dimension_names", None) or array.attrs.get("_ARRAY_DIMENSIONS")
    names = "".join(str(each)[:1].upper() for each in given or ())
    if len(names) == array.ndim and {"Y", "X"} <= set(names) <= set("TZCYXS"):
        return names
    if array.ndim == 3 and array.shape[-1] == 3:
        return "YXS"
    return "TCZYX"[-array.ndim :]


def find_in_zarr(path: Path) -> list[Path]:
    """The images in an OME-Zarr: in the wells of a plate, or one after the other, as bioformats2raw
    writes them; else itself."""
    try:
        check_regular_tree(path)
        node = zarr.open(path, mode="r")
        attributes = {} if isinstance(node, zarr.Array) else ome_attributes(node)
        places: list[str] = []
        if "plate" in attributes:
            for well in (each["path"] for each in attributes["plate"]["wells"]):
                fields = ome_attributes(node[well])["well"]["images"] if well in node else []
                places += [f"{well}/{field['path']}" for field in fields]
        elif "bioformats2raw.layout" in attributes and "multiscales" not in attributes:
            places = sorted((key for key in node.group_keys() if key.isdigit()), key=int)
    except Exception:  # noqa: BLE001 decoders raise whatever they like; it is told when it is opened
        places = []
    return [path / place for place in places if is_inside(place)] or [path]


def ome_attributes(node: zarr.Group) -> dict:
    """Where OME-NGFF has its metadata: since version 0.5 under `ome`."""
    attributes = dict(node.attrs)
    return attributes.get("ome", attributes)
