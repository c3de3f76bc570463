"""Outlines for ImageJ and Fiji: a zip archive of ROIs for each image."""

import zipfile
from io import BytesIO
from pathlib import Path

import cv2
import numpy as np
from roifile import ImagejRoi

from dsb2018.inference.export.base import Exporter, ExportJob, register_exporter
from dsb2018.inference.export.geojson import outline
from dsb2018.inference.measurements import Columns
from dsb2018.io.files import write_atomically
from dsb2018.structures.masks import Crop
from dsb2018.structures.nuclei import Nuclei

DATE = (1980, 1, 1, 0, 0, 0)  # of all files in the archive, so that equal nuclei give equal bytes


class RoiExporter(Exporter):
    """Writes `rois/<image>.zip`, which ImageJ's ROI Manager opens."""

    name = "rois"

    def write(self, job: ExportJob, columns: Columns) -> None:
        """See `Exporter.write`."""
        write_rois(job.output / "rois" / f"{job.name}.zip", job.nuclei, columns["label"])

    def outputs(self, output: Path, record: dict) -> list[Path]:
        """See `Exporter.outputs`."""
        return [output / "rois" / f"{row['image']}.zip" for row in record["images"]]


register_exporter(RoiExporter())


def write_rois(path: Path, nuclei: Nuclei, labels: np.ndarray) -> None:
    """Writes the outline of each nucleus as a polygon, named by its label.

    ImageJ's polygons have one part and no holes: of a nucleus in several parts, the largest is
    written, without its holes.

    Args:
        path: the zip archive.
        nuclei: the N nuclei of the image.
        labels: (N,) their labels.
    """
    content = BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive:
        for index, crop in enumerate(nuclei.crops):
            name = f"{int(labels[index]):06d}-{index + 1}.roi"
            roi = ImagejRoi.frompoints(_corners(crop), name=name.removesuffix(".roi"))
            archive.writestr(zipfile.ZipInfo(name, DATE), roi.tobytes())
    write_atomically(path, content.getvalue())


def _corners(crop: Crop) -> np.ndarray:
    """Returns the (N, 2) x, y of the outline in pixels, from the upper left corner of the image."""
    shape = outline(crop)
    parts = shape["coordinates"] if shape["type"] == "MultiPolygon" else [shape["coordinates"]]
    rings = [np.array(part[0][:-1], np.float32) for part in parts]
    return max(rings, key=lambda ring: cv2.contourArea(ring))
