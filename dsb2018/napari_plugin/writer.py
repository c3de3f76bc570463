"""Writers of label layers. The files are those of `dsb2018 predict`."""

from pathlib import Path
from typing import Any

import numpy as np

from dsb2018.images.axes import MICROMETRES
from dsb2018.images.microscopy_image import MicroscopyImage
from dsb2018.inference.export.geojson import encode_features, write_features
from dsb2018.inference.export.label_images import write_labels, write_volume
from dsb2018.inference.export.rois import encode_rois, write_rois
from dsb2018.inference.measurements import Columns
from dsb2018.structures.nuclei import Nuclei


def save_tiff(path: str, data: Any, meta: dict[str, Any]) -> list[str]:
    """Writes a label layer of 2 or 3 axes as TIFF, with the size of its pixels.

    Labels are renumbered from 1.

    Args:
        path: the file.
        data: (Y, X) or (Z, Y, X) integers.
        meta: attributes of the layer.

    Returns:
        The file.

    Raises:
        ValueError: the layer has more axes.
    """
    labels = np.asarray(data)
    if labels.ndim == 2:
        write_labels(Path(path), Nuclei.from_labels(labels), _image(labels, meta))
        return [path]
    if labels.ndim != 3:
        raise ValueError(f"{labels.ndim} axes, expected 2 or 3; save one time point at a time")
    names = np.unique(labels[labels > 0])
    compact = np.where(labels > 0, np.searchsorted(names, labels) + 1, 0)
    slices = [
        (Nuclei.from_labels(plane), np.unique(plane[plane > 0]).astype(np.int32))
        for plane in compact
    ]
    write_volume(Path(path), slices, len(names), _image(labels, meta))
    return [path]


def save_geojson(path: str, data: Any, meta: dict[str, Any]) -> list[str]:
    """Writes the outlines of a 2-D label layer, and its features as measurements, as GeoJSON.

    Args, returns: see `save_tiff`.

    Raises:
        ValueError: the layer is not 2-D.
    """
    labels = _check_plane(data)
    nuclei, names = Nuclei.from_labels(labels), np.unique(labels[labels > 0])
    features = encode_features(nuclei, _columns(names, meta))
    write_features(Path(path), [features])
    return [path]


def save_rois(path: str, data: Any, meta: dict[str, Any]) -> list[str]:
    """Writes the outlines of a 2-D label layer as an archive for ImageJ's ROI Manager.

    Args, returns, raises: see `save_geojson`.
    """
    labels = _check_plane(data)
    nuclei, names = Nuclei.from_labels(labels), np.unique(labels[labels > 0])
    write_rois(Path(path), [encode_rois(nuclei, names)])
    return [path]


def _check_plane(data: Any) -> np.ndarray:
    labels = np.asarray(data)
    if labels.ndim != 2:
        raise ValueError(f"{labels.ndim} axes, expected 2; TIFF files have all slices")
    return labels


def _columns(names: np.ndarray, meta: dict[str, Any]) -> Columns:
    """Returns the measurements of the nuclei, if the features of the layer have them."""
    columns: dict[str, np.ndarray] = {"label": names}
    features = meta.get("features")
    if features is not None and len(features) > int(np.max(names, initial=0)):
        rows = features.iloc[names]
        numeric = rows.select_dtypes("number").columns
        columns |= {name: rows[name].to_numpy(np.float64) for name in numeric if name != "label"}
    return columns


def _image(labels: np.ndarray, meta: dict[str, Any]) -> MicroscopyImage:
    axes = "ZYX"[-labels.ndim :]
    units = [MICROMETRES.get(str(unit), 0.0) for unit in meta.get("units") or ()]
    scale = np.abs(meta.get("scale", ())) * units if len(units) == labels.ndim else np.zeros(3)
    size = (float(scale[-2]), float(scale[-1]))
    return MicroscopyImage(
        meta.get("name", "labels"), Path(), labels, axes, pixel_size=size if all(size) else None
    )
