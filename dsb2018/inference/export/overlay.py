"""Overlays: the image with the outline of each nucleus."""

from collections.abc import Sequence
from pathlib import Path

import cv2
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
VISIBLE = 0.35  # brightness of the median nucleus in a picture, 0 to 1
SMALLEST_GAMMA = 0.4
MAX_EDGE = 4096  # longest edge of an overlay, pixels; larger images are subsampled


class OverlayExporter(Exporter):
    """Writes `overlays/<image>.png`."""

    name = "overlay"

    def write(self, job: ExportJob, columns: Columns) -> None:
        """See `Exporter.write`."""
        path = job.output / "overlays" / f"{job.name}.png"
        picture = draw_overlay(job.nuclei, *job.picture, MAX_EDGE, job.gamma)
        write_atomically(path, encode_png(picture))

    def outputs(self, output: Path, record: dict) -> list[Path]:
        """See `Exporter.outputs`."""
        return [output / "overlays" / f"{row['image']}.png" for row in record["images"]]


register_exporter(OverlayExporter())


def draw_overlay(
    nuclei: Nuclei,
    image: MicroscopyImage,
    grey_range: GreyRange,
    max_edge: int,
    gamma: float | None = None,
) -> np.ndarray:
    """Draws the outlines of the nuclei on their image, which is read in horizontal stripes.

    Args:
        nuclei: the nuclei.
        image: the 2-D image, of one channel or RGB.
        grey_range: gray values that become 0 and 255.
        max_edge: longest edge of the drawing in pixels; larger images are subsampled.
        gamma: exponent of the gray values, which are 0 to 1; None: see `choose_gamma`.

    Returns:
        (H, W, 3) uint8 RGB; images up to a quarter of `MAX_EDGE` are drawn at twice their size if
        `max_edge` permits it.
    """
    height, width = image.size
    shrink = -(-max(height, width) // max_edge)
    stripes = []
    step = max(1, 1024 // shrink) * shrink
    for top in range(0, height, step):
        bottom = min(top + step, height)
        pixels = image.read(top, 0, bottom - top, width)[::shrink, ::shrink]
        labels = nuclei.window(top, 0, bottom - top, width)[::shrink, ::shrink]
        stripes.append((grey_range.to_rgb(pixels), labels))
    gamma = gamma or choose_gamma([(rgb[::3, ::3], labels[::3, ::3]) for rgb, labels in stripes])
    table = np.rint(255 * (np.arange(256) / 255) ** gamma).astype(np.uint8)
    zoom = 2 if max(height, width) <= min(MAX_ENLARGED, max_edge / 2) else 1
    return np.concatenate(
        [
            draw_outlines(cv2.LUT(stripe, table), labels, PREDICTED, zoom)
            for stripe, labels in stripes
        ]
    )


def choose_gamma(stripes: Sequence[tuple[np.ndarray, np.ndarray]]) -> float:
    """Returns the gamma that makes faint nuclei visible; 1 if most nuclei are bright or stained.

    Bright dust or a single bright nucleus leaves little contrast to the others.

    Args:
        stripes: parts of the picture, (h, w, 3) uint8 RGB, and of the label image, (h, w).
    """
    inside = np.concatenate([stripe[labels > 0].max(axis=-1) for stripe, labels in stripes])
    outside = np.concatenate([stripe[labels == 0].max(axis=-1) for stripe, labels in stripes])
    if not len(inside) or not len(outside):
        return 1.0
    faint, background = np.median(inside) / 255, np.median(outside) / 255
    if not background < faint < VISIBLE:
        return 1.0
    return float(max(SMALLEST_GAMMA, np.log(VISIBLE) / np.log(max(faint, 1 / 255))))
