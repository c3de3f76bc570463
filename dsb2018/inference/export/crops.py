"""An image of each nucleus."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import tifffile

from dsb2018.inference.export.base import Exporter, ExportJob, register
from dsb2018.inference.export.png import encode_png
from dsb2018.inference.measurements import Columns, blocks
from dsb2018.inference.microscopy_image import MicroscopyImage
from dsb2018.io.files import make_empty_folder
from dsb2018.structures.nuclei import Nuclei

MARGIN = 4  # pixels around a nucleus in its crop


class CropExporter(Exporter):
    """`crops/<image>/<label>.png`."""

    name = "crops"

    def write(self, job: ExportJob, columns: Columns) -> None:
        """See `Exporter.write`."""
        write_crops(job.output / "crops" / job.name, job.nuclei, job.image, columns["label"])


register(CropExporter())


def write_crops(
    folder: Path, nuclei: Nuclei, image: MicroscopyImage, labels: Sequence[int]
) -> None:
    """Writes `<label>.png` for each nucleus, with the grey values of the file where PNG can hold
    them, else `<label>.tif`."""
    make_empty_folder(folder)
    for block in blocks(nuclei, image, MARGIN):
        for number in block.wanted:
            crop = nuclei.crops[number - 1]
            height, width = crop.mask.shape
            y, x = crop.y - block.top, crop.x - block.left
            rows = slice(max(0, y - MARGIN), y + height + MARGIN)
            columns = slice(max(0, x - MARGIN), x + width + MARGIN)
            write_pixels(folder / f"{labels[number - 1]:05d}", block.pixels[rows, columns])


def write_pixels(path: Path, pixels: np.ndarray) -> None:
    """(h, w, C) pixels of any dtype under a path without ending: PNG, or what cannot be PNG as
    TIFF, channel by channel."""
    pixels = pixels[..., 0] if pixels.shape[2] == 1 else pixels
    if pixels.dtype in (np.uint8, np.uint16) and (pixels.ndim == 2 or pixels.shape[2] == 3):
        path.with_name(path.name + ".png").write_bytes(encode_png(pixels))
        return
    planes = pixels if pixels.ndim == 2 else np.moveaxis(pixels, 2, 0)
    path = path.with_name(path.name + ".tif")
    tifffile.imwrite(path, planes, photometric="minisblack", compression="zlib")
