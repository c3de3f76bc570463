"""Reads the nuclei of outline files: ROIs of ImageJ and GeoJSON of QuPath."""

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import roifile

from dsb2018.io.files import read_file
from dsb2018.prepare.input_files import ZipFiles
from dsb2018.structures.masks import Crop
from dsb2018.structures.outlines import fill_rings

AREA_ROIS = {
    *(roifile.ROI_TYPE.POLYGON, roifile.ROI_TYPE.RECT, roifile.ROI_TYPE.OVAL),
    *(roifile.ROI_TYPE.FREEHAND, roifile.ROI_TYPE.TRACED),
}
MAX_NESTING = 100  # of a GeometryCollection
Rings = list[np.ndarray]


def read_rois(path: Path, notes: list[str]) -> list[Rings]:
    """Reads the areas of an ImageJ ROI file.

    Args:
        path: `.roi`, or a `.zip` of such files.
        notes: gets a note if there are ROIs that are not areas, such as points and lines.

    Returns:
        The rings of each area, see `fill_rings`.

    Raises:
        ValueError: a file is damaged.
    """
    if path.suffix.lower() == ".zip":
        files = ZipFiles(path)
        names = [name for name in files.names if name.lower().endswith(".roi")]
        contents = {name: files.read(name) for name in names}
        if files.names and not contents:
            raise ValueError("no .roi file in the archive, expected one for each nucleus")
    else:
        contents = {path.name: read_file(path)}
    areas, others = [], 0
    for name, data in contents.items():
        rings = _roi_rings(name, data)
        if rings:
            areas.append(rings)
        else:
            others += 1
    if others:
        notes.append(f"{others} ROIs that are not areas were left out")
    return areas


def _roi_rings(name: str, data: bytes) -> Rings:
    """Returns the rings of a ROI; [] for points and lines."""
    try:
        roi = roifile.ImagejRoi.frombytes(data)
        if roi.multi_coordinates is None and roi.roitype not in AREA_ROIS:
            return []
        return [np.asarray(ring, np.float64) for ring in roi.coordinates(multi=True)]
    except Exception as error:  # the library raises errors of any type for damaged files
        raise ValueError(f"{name} is not a readable ROI ({error})") from error


def read_geojson(data: bytes, categories: tuple[str, ...], notes: list[str]) -> list[Rings]:
    """Reads the areas of a GeoJSON file. For QuPath's cells, only the nucleus is read.

    If QuPath has detected cells or nuclei, its annotations are the regions in which it searched
    for them, so they are left out.

    Args:
        data: the file: a FeatureCollection, a list of features, or one feature.
        categories: names of the classes that are nuclei; empty: all.
        notes: gets a note about areas and features that are left out.

    Returns:
        The rings of each area, see `fill_rings`.

    Raises:
        ValueError: the file is damaged or not GeoJSON.
    """
    try:
        areas, others, annotations = [], 0, 0
        features = list(_features(data))
        has_detections = any(_object_type(f) in ("detection", "cell") for f in features)
        for feature in features:
            if categories and _class_name(feature) not in categories:
                continue
            if has_detections and _object_type(feature) == "annotation":
                annotations += 1
                continue
            rings = list(_rings(feature.get("nucleusGeometry") or feature["geometry"]))
            areas += [rings] if rings else []
            others += not rings
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        reason = str(error) or type(error).__name__
        raise ValueError(f"not GeoJSON of features with outlines ({reason})") from error
    if annotations:
        notes.append(
            f"{annotations} annotations were left out, because there are detections; if they are "
            "nuclei, turn the detections into annotations too"
        )
    if others:
        notes.append(f"{others} features that are not areas were left out")
    return areas


def read_class_names(data: bytes) -> set[str]:
    """Returns the names of the classes in a GeoJSON file; an empty set if it is damaged."""
    try:
        return {name for feature in _features(data) if (name := _class_name(feature))}
    except (ValueError, TypeError, AttributeError, RecursionError):
        return set()


def _features(data: bytes) -> list[dict]:
    content = json.loads(data)
    return content.get("features", [content]) if isinstance(content, dict) else content


def _object_type(feature: dict) -> str:
    """Returns QuPath's type of an object: annotation, detection, cell, …"""
    return str((feature.get("properties") or {}).get("objectType", ""))


def _class_name(feature: dict) -> str:
    """Returns the class as QuPath shows it; derived classes are such as "Tumor: Positive"."""
    classification = (feature.get("properties") or {}).get("classification") or {}
    names = classification.get("names") or [classification.get("name") or ""]
    return ": ".join(map(str, names))


def _rings(geometry: dict[str, Any], depth: int = 0) -> Iterator[np.ndarray]:
    """Iterates over the rings of a geometry. Points and lines have none."""
    if depth > MAX_NESTING:
        raise ValueError("a geometry that is nested too deeply")
    kind = geometry["type"]
    if kind == "GeometryCollection":
        for part in geometry["geometries"]:
            yield from _rings(part, depth + 1)
    for polygon in {"Polygon": [geometry.get("coordinates")]}.get(
        kind, geometry["coordinates"] if kind == "MultiPolygon" else []
    ):
        for ring in polygon:
            yield np.array([(float(x), float(y)) for x, y, *_ in ring]).reshape(-1, 2)


def fill_areas(areas: list[Rings], height: int, width: int, notes: list[str]) -> list[Crop]:
    """Fills outlines in an image of (height, width).

    Raises:
        ValueError: an outline cannot be filled, see `fill_rings`.
    """
    crops, empty = [], 0
    for number, rings in enumerate(areas, start=1):
        if not all(math.isfinite(value) for ring in rings for value in ring.flat):
            raise ValueError(f"outline {number} has coordinates that are not finite")
        try:
            crop = fill_rings(rings, height, width)
        except ValueError as error:
            raise ValueError(f"number {number} is {error}") from error
        if crop is None:
            empty += 1
        else:
            crops.append(crop)
    if empty:
        notes.append(f"{empty} outlines without pixels in the image were left out")
    return crops
