"""Overlays: the image with the outline of each nucleus."""

from collections.abc import Iterable
from pathlib import Path

import cv2
import numpy as np

from dsb2018.draw import PREDICTED, draw_outlines
from dsb2018.inference.export.base import BlockExporter, Encoded, ExportJob, register_exporter
from dsb2018.inference.measurements import Columns
from dsb2018.io.files import write_atomically
from dsb2018.io.png import encode_png

# Images up to this edge, in pixels, are drawn at twice their size, so that outlines cover less.
MAX_ENLARGED = 1024
VISIBLE = 0.35  # brightness of the median nucleus in a picture, 0 to 1
SMALLEST_GAMMA = 0.4
STRIPE = 1024  # rows that are read or drawn together, pixels
MAX_EDGE = 4096  # longest edge of an overlay, pixels; larger images are subsampled


class OverlayExporter(BlockExporter):
    """Writes `overlays/<image>.png`."""

    name = "overlay"

    def encode(self, job: ExportJob, columns: Columns) -> Encoded:
        """See `BlockExporter.encode`."""
        return sample_picture(job, MAX_EDGE)

    def assemble(self, job: ExportJob, blocks: Iterable[Encoded]) -> None:
        """See `BlockExporter.assemble`."""
        path = job.output / "overlays" / f"{job.name}.png"
        picture = draw_overlay(job.image.size, MAX_EDGE, blocks, job.gamma)
        write_atomically(path, encode_png(picture))

    def outputs(self, output: Path, record: dict) -> list[Path]:
        """See `Exporter.outputs`."""
        return [output / "overlays" / f"{row['image']}.png" for row in record["images"]]


register_exporter(OverlayExporter())


def sample_picture(job: ExportJob, max_edge: int) -> Encoded:
    """Returns what `draw_overlay` needs of a block.

    Args:
        job: the image and the block.
        max_edge: see `draw_overlay`.

    Returns:
        `rgb`, (h, w, 3) uint8; `labels`, (h, w) int32; and their position in the picture, `corner`,
        (2,) y and x.
    """
    image, grey_range = job.picture
    top, left, height, width = job.window
    shrink = -(-max(image.size) // max_edge)
    first_y, first_x = -top % shrink, -left % shrink  # the blocks of a picture have one grid
    pictures, label_images = [], []
    step = max(1, STRIPE // shrink) * shrink
    for y in range(top + first_y, top + height, step):
        window = y, left, min(step, top + height - y), width
        pixels = image.read(*window)[::shrink, first_x::shrink]
        pictures.append(grey_range.to_rgb(pixels))
        label_images.append(job.labels(*window)[::shrink, first_x::shrink])
    if not pictures:
        pictures, label_images = [np.zeros((0, 0, 3), np.uint8)], [np.zeros((0, 0), np.int32)]
    return {
        "rgb": np.concatenate(pictures),
        "labels": np.concatenate(label_images),
        "corner": np.array([-(-top // shrink), -(-left // shrink)]),
    }


def draw_overlay(
    size: tuple[int, int],
    max_edge: int,
    blocks: Iterable[Encoded],
    gamma: float | None = None,
) -> np.ndarray:
    """Draws the outlines of the nuclei on their image.

    Args:
        size: (H, W) of the image, pixels.
        max_edge: longest edge of the drawing in pixels; larger images are subsampled.
        blocks: see `sample_picture`.
        gamma: exponent of the gray values, which are 0 to 1; None: see `choose_gamma`.

    Returns:
        (H, W, 3) uint8 RGB; images up to a quarter of `MAX_EDGE` are drawn at twice their size if
        `max_edge` permits it.
    """
    shrink = -(-max(size) // max_edge)
    height, width = (-(-edge // shrink) for edge in size)
    rgb, labels = np.zeros((height, width, 3), np.uint8), np.zeros((height, width), np.int32)
    for block in blocks:
        (top, left), (h, w) = block["corner"].tolist(), block["labels"].shape
        rgb[top : top + h, left : left + w] = block["rgb"]
        labels[top : top + h, left : left + w] = block["labels"]
    gamma = gamma or choose_gamma(rgb[::3, ::3], labels[::3, ::3])
    table = np.rint(255 * (np.arange(256) / 255) ** gamma).astype(np.uint8)
    zoom = 2 if max(size) <= min(MAX_ENLARGED, max_edge / 2) else 1
    stripes = [slice(y, y + STRIPE) for y in range(0, height, STRIPE)]
    return np.concatenate(
        [
            draw_outlines(cv2.LUT(rgb[stripe], table), labels[stripe], PREDICTED, zoom)
            for stripe in stripes
        ]
    )


def choose_gamma(rgb: np.ndarray, labels: np.ndarray) -> float:
    """Returns the gamma that makes faint nuclei visible; 1 if most nuclei are bright or stained.

    Bright dust or a single bright nucleus leaves little contrast to the others.

    Args:
        rgb: (h, w, 3) uint8 picture.
        labels: (h, w) label image.
    """
    brightness = rgb.max(axis=-1)
    inside, outside = brightness[labels > 0], brightness[labels == 0]
    if not len(inside) or not len(outside):
        return 1.0
    faint, background = np.median(inside) / 255, np.median(outside) / 255
    if not background < faint < VISIBLE:
        return 1.0
    return float(max(SMALLEST_GAMMA, np.log(VISIBLE) / np.log(max(faint, 1 / 255))))
