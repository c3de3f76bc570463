"""The part of each image in the web page of all results, see `write_page`."""

import base64
import json
from collections.abc import Iterable

import cv2
import numpy as np

from dsb2018.inference.export.base import BlockExporter, Encoded, ExportJob, register_exporter
from dsb2018.inference.export.overlay import draw_overlay, sample_picture
from dsb2018.inference.measurements import Columns
from dsb2018.io.files import write_atomically

EDGE = 720  # longest edge of a picture on the page, pixels
QUALITY = 80  # of the JPEG pictures
BINS = np.geomspace(4, 128, 21)  # of the diameters, pixels


class PageExporter(BlockExporter):
    """Collects what the page shows of each image; `write_page` writes `index.html`."""

    name = "page"
    part_suffix = ".page"  # JSON; `.json` alone is the record of an image

    def encode(self, job: ExportJob, columns: Columns) -> Encoded:
        """See `BlockExporter.encode`."""
        diameters = 2 * np.sqrt(columns["area"] / np.pi)
        histogram = np.histogram(np.clip(diameters, BINS[0], BINS[-1]), BINS)[0]
        return {**sample_picture(job, EDGE), "histogram": histogram}

    def assemble(self, job: ExportJob, blocks: Iterable[Encoded]) -> None:
        """See `BlockExporter.assemble`."""
        blocks = list(blocks)  # together a picture of `EDGE` pixels
        histogram = np.sum([block["histogram"] for block in blocks], axis=0)
        picture = draw_overlay(job.image.size, EDGE, blocks, job.gamma)
        options = [cv2.IMWRITE_JPEG_QUALITY, QUALITY]
        jpeg = cv2.imencode(".jpg", picture[..., ::-1], options)[1].tobytes()
        part = {"picture": base64.b64encode(jpeg).decode(), "histogram": histogram.tolist()}
        write_atomically(job.part(self), json.dumps(part))


register_exporter(PageExporter())
