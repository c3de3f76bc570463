"""Overlays: the image with the outline of each nucleus."""

from pathlib import Path

import numpy as np

from dsb2018.draw import PREDICTED, draw_outlines
from dsb2018.images.microscopy_image import MicroscopyImage
from dsb2018.inference.export.base import Exporter, ExportJob, register_exporter
from dsb2018.inference.measurements import Columns
from dsb2018.io.files import write_atomically
from dsb2018.io.png import encode_png
from dsb2018.structures.contrast import GreyRange
from dsb2018.structures.nuclei import Nuclei

# Images up to this edge, in pixels, are drawn at twice their size, so that outlines cover less.
MAX_ENLARGED = 1024
MAX_EDGE = 4096  # longest edge of an overlay, pixels; larger images are subsampled


class OverlayExporter(Exporter):
    """Writes `overlays/<image>.png`."""

    name = "overlay"

    def write(self, job: ExportJob, columns: Columns) -> None:
        """See `Exporter.write`."""
        path = job.output / "overlays" / f"{job.name}.png"
        write_overlay(path, job.nuclei, *job.picture)

    def outputs(self, output: Path, record: dict) -> list[Path]:
        """See `Exporter.outputs`."""
        return [output / "overlays" / f"{row['image']}.png" for row in record["images"]]


register_exporter(OverlayExporter())


def write_overlay(
    path: Path, nuclei: Nuclei, image: MicroscopyImage, grey_range: GreyRange
) -> None:
    """Writes the overlay as PNG."""
    write_atomically(path, encode_png(draw_overlay(nuclei, image, grey_range, MAX_EDGE)))


def draw_overlay(
    nuclei: Nuclei, image: MicroscopyImage, grey_range: GreyRange, max_edge: int
) -> np.ndarray:
    """Draws the outlines of the nuclei on their image, which is read in horizontal stripes.

    Args:
        nuclei: the nuclei.
        image: the 2-D image, of one channel or RGB.
        grey_range: gray values that become 0 and 255.
        max_edge: longest edge of the drawing in pixels; larger images are subsampled.

    Returns:
        (H, W, 3) uint8 RGB; images up to a quarter of `MAX_EDGE` are drawn at twice their size if
        `max_edge` permits it.
    """
    height, width = image.size
    shrink = -(-max(height, width) // max_edge)
    rows = []
    step = max(1, 1024 // shrink) * shrink
    for top in range(0, height, step):
        bottom = min(top + step, height)
        pixels = image.read(top, 0, bottom - top, width)[::shrink, ::shrink]
        window = grey_range.to_rgb(pixels)
        labels = nuclei.window(top, 0, bottom - top, width)[::shrink, ::shrink]
        zoom = 2 if max(height, width) <= min(MAX_ENLARGED, max_edge / 2) else 1
        rows.append(draw_outlines(window, labels, PREDICTED, zoom))
    return np.concatenate(rows)
