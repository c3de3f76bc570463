"""Crops: one image per nucleus."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import tifffile

from dsb2018.images.microscopy_image import MicroscopyImage
from dsb2018.inference.export.base import BlockExporter, Encoded, ExportJob, register_exporter
from dsb2018.inference.measurements import Columns, blocks
from dsb2018.io.files import make_empty_folder
from dsb2018.io.png import encode_png
from dsb2018.structures.nuclei import Nuclei

MARGIN = 4  # margin around the bounding box of a nucleus, pixels


class CropExporter(BlockExporter):
    """Writes `crops/<image>/<label>.png`, or `.tif`."""

    name = "crops"

    def begin(self, job: ExportJob) -> None:
        """See `BlockExporter.begin`."""
        make_empty_folder(self._folder(job))

    def encode(self, job: ExportJob, columns: Columns) -> Encoded:
        """See `BlockExporter.encode`. The files are final, so that nothing needs to be kept."""
        write_crops(self._folder(job), job.nuclei, job.image, columns["label"])
        return {}

    def _folder(self, job: ExportJob) -> Path:
        return job.output / "crops" / job.name


register_exporter(CropExporter())


def write_crops(
    folder: Path, nuclei: Nuclei, image: MicroscopyImage, labels: Sequence[int]
) -> None:
    """Writes one image per nucleus, `<label>.png`, with the gray values of the file.

    The format is `<label>.tif` if PNG does not support the pixels.

    Args:
        folder: output folder.
        nuclei: the nuclei of the image.
        image: the image with all channels.
        labels: the label of each nucleus.
    """
    for block in blocks(nuclei, image, MARGIN):
        for number in block.targets:
            crop = nuclei.crops[number - 1]
            height, width = crop.mask.shape
            y, x = crop.y - block.top, crop.x - block.left
            rows = slice(max(0, y - MARGIN), y + height + MARGIN)
            columns = slice(max(0, x - MARGIN), x + width + MARGIN)
            write_pixels(folder / f"{labels[number - 1]:05d}", block.pixels[rows, columns])


def write_pixels(path: Path, pixels: np.ndarray) -> None:
    """Writes an image as PNG, or as TIFF with one page per channel if PNG does not support it.

    Args:
        path: path without extension.
        pixels: (h, w, C) of any dtype.
    """
    pixels = pixels[..., 0] if pixels.shape[2] == 1 else pixels
    if pixels.dtype in (np.uint8, np.uint16) and (pixels.ndim == 2 or pixels.shape[2] == 3):
        path.with_name(path.name + ".png").write_bytes(encode_png(pixels))
        return
    planes = pixels if pixels.ndim == 2 else np.moveaxis(pixels, 2, 0)
    path = path.with_name(path.name + ".tif")
    tifffile.imwrite(path, planes, photometric="minisblack", compression="zlib")
