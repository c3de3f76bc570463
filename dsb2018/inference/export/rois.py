"""Outlines for ImageJ and Fiji: a zip archive of ROIs for each image."""

import zipfile
from collections.abc import Iterable
from pathlib import Path

import cv2
import numpy as np
from roifile import ImagejRoi

from dsb2018.inference.export.base import BlockExporter, Encoded, ExportJob, register_exporter
from dsb2018.inference.export.geojson import outline
from dsb2018.inference.measurements import Columns
from dsb2018.io.files import replacing
from dsb2018.structures.masks import Crop
from dsb2018.structures.nuclei import Nuclei

DATE = (1980, 1, 1, 0, 0, 0)  # of all files in the archive, so that equal nuclei give equal bytes


class RoiExporter(BlockExporter):
    """Writes `rois/<image>.zip`, which ImageJ's ROI Manager opens."""

    name = "rois"

    def encode(self, job: ExportJob, columns: Columns) -> Encoded:
        """See `BlockExporter.encode`."""
        return encode_rois(job.nuclei, columns["label"])

    def assemble(self, job: ExportJob, blocks: Iterable[Encoded]) -> None:
        """See `BlockExporter.assemble`."""
        write_rois(job.output / "rois" / f"{job.name}.zip", blocks)

    def outputs(self, output: Path, record: dict) -> list[Path]:
        """See `Exporter.outputs`."""
        return [output / "rois" / f"{row['image']}.zip" for row in record["images"]]


register_exporter(RoiExporter())


def encode_rois(nuclei: Nuclei, labels: np.ndarray) -> Encoded:
    """Returns the outline of each nucleus as a polygon, named by its label.

    ImageJ's polygons have one part and no holes: of a nucleus in several parts, the largest is
    written, without its holes.

    Args:
        nuclei: N nuclei of the image.
        labels: (N,) their labels.

    Returns:
        `names`, (N,) strings; `rois`, uint8, the content of all files; and `ends`, (N,) the end of
        each file in it.
    """
    names, rois = [], []
    for index, crop in enumerate(nuclei.crops):
        names.append(f"{int(labels[index]):06d}-{index + 1}")
        rois.append(ImagejRoi.frompoints(_corners(crop), name=names[-1]).tobytes())
    return {
        "names": np.array(names, str),
        "rois": np.frombuffer(b"".join(rois), np.uint8),
        "ends": np.cumsum([len(roi) for roi in rois], dtype=np.int64),
    }


def write_rois(path: Path, blocks: Iterable[Encoded]) -> None:
    """Writes the zip archive of an image.

    Args:
        path: the archive.
        blocks: see `encode_rois`.
    """
    with replacing(path) as file, zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for block in blocks:
            rois, begin = block["rois"].tobytes(), 0
            for name, end in zip(block["names"].tolist(), block["ends"].tolist(), strict=True):
                archive.writestr(zipfile.ZipInfo(f"{name}.roi", DATE), rois[begin:end])
                begin = end


def _corners(crop: Crop) -> np.ndarray:
    """Returns the (N, 2) x, y of the outline in pixels, from the upper left corner of the image."""
    shape = outline(crop)
    parts = shape["coordinates"] if shape["type"] == "MultiPolygon" else [shape["coordinates"]]
    rings = [np.array(part[0][:-1], np.float32) for part in parts]
    return max(rings, key=lambda ring: cv2.contourArea(ring))
