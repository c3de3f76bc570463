"""OME-Zarr, also what is in a plate, and plain Zarr arrays; read in windows."""

from pathlib import Path

import zarr

from dsb2018.inference.pictures import Picture
from dsb2018.inference.readers.axes import MICROMETRES, understand_axes


def open_zarr(name: str, path: Path) -> Picture:
    """Opens an array, or an image at its full resolution.

    Raises:
        ValueError: no image, or axes that are not understood; and whatever `zarr` raises of damaged
            stores.
    """
    node = zarr.open(path, mode="r")
    if isinstance(node, zarr.Array):
        axes = "TCZYX"[-node.ndim :]
        return Picture(name, path, node, *understand_axes(axes, node.shape, path))
    attributes = ome_attributes(node)
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
        *understand_axes(letters, array.shape, path),
        pixel_size=(lengths["y"], lengths["x"]) if lengths["y"] and lengths["x"] else None,
        slice_distance=lengths.get("z") or None,
        channels=tuple(names) if all(names) else (),
    )


def find_in_zarr(path: Path) -> list[Path]:
    """The images in an OME-Zarr: in the wells of a plate, or one after the other, as bioformats2raw
    writes them; else itself."""
    try:
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
    return [path / place for place in places] or [path]


def ome_attributes(node: zarr.Group) -> dict:
    """Where OME-NGFF has its metadata: since version 0.5 under `ome`."""
    attributes = dict(node.attrs)
    return attributes.get("ome", attributes)
