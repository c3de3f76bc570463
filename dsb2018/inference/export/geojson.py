"""Outlines as GeoJSON for QuPath: one detection per nucleus."""

import json
from collections.abc import Iterable
from pathlib import Path

import cv2
import numpy as np
from skimage.measure import find_contours

from dsb2018.inference.export.base import ExportJob, TextExporter, register_exporter
from dsb2018.inference.export.tables import round_off
from dsb2018.inference.measurements import Columns
from dsb2018.io.files import replacing
from dsb2018.structures.masks import Crop
from dsb2018.structures.nuclei import Nuclei

# Columns that are not written as measurements.
NOT_MEASURED = ("label", "score", "touching", "at_border")


class GeoJsonExporter(TextExporter):
    """Writes `geojson/<image>.geojson`."""

    name = "geojson"

    def encode_text(self, job: ExportJob, columns: Columns) -> bytes:
        """See `TextExporter`."""
        return encode_features(job.nuclei, columns)

    def assemble_text(self, job: ExportJob, blocks: Iterable[bytes]) -> None:
        """See `TextExporter`."""
        path = job.output / "geojson" / f"{job.name}.geojson"
        write_features(path, blocks)

    def outputs(self, output: Path, record: dict) -> list[Path]:
        """See `Exporter.outputs`."""
        return [output / "geojson" / f"{row['image']}.geojson" for row in record["images"]]


register_exporter(GeoJsonExporter())


def encode_features(nuclei: Nuclei, columns: Columns) -> bytes:
    """Returns the outlines and measurements of the nuclei as GeoJSON features.

    Coordinates are x, y in pixels from the upper left corner of the image.
    """
    names, features = [name for name in columns if name not in NOT_MEASURED], []
    for index, crop in enumerate(nuclei.crops):
        numbers = {name: _number(columns[name][index]) for name in names}
        feature = {
            "type": "Feature",
            "geometry": outline(crop),
            "properties": {
                "objectType": "detection",
                "name": str(columns["label"][index]),
                "classification": {"name": "Nucleus", "color": [213, 94, 0]},
                "measurements": {"score": _number(nuclei.scores[index]), **numbers},
            },
        }
        features.append(json.dumps(feature))
    return ",\n".join(features).encode()


def write_features(path: Path, blocks: Iterable[bytes]) -> None:
    """Writes a FeatureCollection.

    Args:
        path: the file.
        blocks: the features of each block of the image, see `encode_features`.
    """
    with replacing(path) as file:
        file.write(b'{"type": "FeatureCollection", "features": [')
        separator = b"\n"
        for features in filter(None, blocks):
            file.write(separator + features)
            separator = b",\n"
        file.write(b"\n]}\n")


def _number(value: float) -> float | None:
    return float(round_off(np.float64(value))) if np.isfinite(value) else None


def outline(crop: Crop) -> dict:
    """Returns the outline of a nucleus as a GeoJSON Polygon, or MultiPolygon for several parts.

    The vertices lie midway between pixels inside and outside, so the area differs from the number
    of pixels by half a pixel for each ring.
    """
    padded = np.pad(crop.mask, 1).astype(np.float32)
    rings = [ring[:, ::-1] for ring in find_contours(padded, 0.5, fully_connected="high")]
    outer = [ring for ring in rings if _signed_area(ring) > 0]
    holes = [ring for ring in rings if _signed_area(ring) <= 0]
    parts = [[ring] for ring in outer]
    for hole in holes:
        point = tuple(map(float, hole[0]))
        around_hole = [
            part
            for part in parts
            if cv2.pointPolygonTest(part[0].astype(np.float32)[:, None], point, False) >= 0
        ]
        min(around_hole or parts, key=lambda part: _signed_area(part[0])).append(hole)
    shift = np.array([crop.x, crop.y]) - 0.5  # -1 for the padding, +0.5 for the pixel centers
    polygons = [[(ring + shift).tolist() for ring in part] for part in parts]
    if len(polygons) == 1:
        return {"type": "Polygon", "coordinates": polygons[0]}
    return {"type": "MultiPolygon", "coordinates": polygons}


def _signed_area(ring: np.ndarray) -> float:
    """Returns the area of a ring in square pixels; negative for holes, see `find_contours`."""
    x, y = ring[:-1].T
    next_x, next_y = ring[1:].T
    return float(np.sum(x * next_y - next_x * y)) / 2
