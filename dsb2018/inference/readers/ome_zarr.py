"""OME-Zarr, also plates and what bioformats2raw writes, and plain Zarr arrays; read in windows."""

from collections.abc import Iterator
from pathlib import Path

import zarr

from dsb2018.inference.pictures import Picture
from dsb2018.inference.readers.axes import MICROMETRES, understand_axes


def open_zarr(name: str, path: Path) -> list[Picture]:
    """Opens a store: each image of it at its full resolution.

    Raises:
        ValueError: no image in it, or axes that are not understood; and whatever `zarr` raises of
            damaged stores.
    """
    node = zarr.open(path, mode="r")
    if isinstance(node, zarr.Array):
        axes = "TCZYX"[-node.ndim :]
        return [Picture(name, path, node, *understand_axes(axes, node.shape, path))]
    places = list(_find_images(node))
    if not places:
        raise ValueError(f"{path}: a Zarr group without `multiscales`, expected OME-Zarr")
    return [
        _open_ome_zarr("_".join([name, *place.split("/")]) if place else name, path, node, place)
        for place in places
    ]


def _find_images(node: zarr.Group) -> Iterator[str]:
    """Where in an OME-Zarr its images are: in itself (""), in the wells of a plate, or one after
    the other, as bioformats2raw writes them."""
    attributes = _ome_attributes(node)
    if "multiscales" in attributes:
        yield ""
    elif "plate" in attributes:
        for well in (each["path"] for each in attributes["plate"]["wells"]):
            fields = _ome_attributes(node[well])["well"]["images"] if well in node else []
            yield from (f"{well}/{field['path']}" for field in fields)
    elif "bioformats2raw.layout" in attributes:
        yield from sorted((key for key in node.group_keys() if key.isdigit()), key=int)


def _ome_attributes(node: zarr.Group) -> dict:
    attributes = dict(node.attrs)
    return attributes.get("ome", attributes)  # since version 0.5 of OME-NGFF


def _open_ome_zarr(name: str, path: Path, node: zarr.Group, place: str) -> Picture:
    node = node[place] if place else node
    attributes = _ome_attributes(node)
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
        *understand_axes(letters, array.shape, path),
        pixel_size=(lengths["y"], lengths["x"]) if lengths["y"] and lengths["x"] else None,
        slice_distance=lengths.get("z") or None,
        channels=tuple(names) if all(names) else (),
    )
