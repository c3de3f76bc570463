"""The form of the 2018 Data Science Bowl: a folder for each image, a mask file for each nucleus.

`tools/prepare_dsb2018.py` reads these folders, so corrected results can be trained on.
"""

import json
from pathlib import Path

import numpy as np

from dsb2018.inference.export.base import Exporter, ExportJob, register
from dsb2018.inference.export.png import encode_png, to_rgb
from dsb2018.inference.measurements import Columns
from dsb2018.inference.microscopy_image import MicroscopyImage
from dsb2018.io.files import make_empty_folder, write_atomically
from dsb2018.structures.contrast import GreyRange
from dsb2018.structures.nuclei import Nuclei

MOST_DSB = 1 << 24  # pixels of an image


class DsbExporter(Exporter):
    """`dsb/<image>/images` and `dsb/<image>/masks`."""

    name = "dsb"

    def write(self, job: ExportJob, columns: Columns) -> None:
        """See `Exporter.write`."""
        folder, mark = job.output / "dsb" / job.name, job.parts / f"{job.name}.dsb"
        write_dsb(folder, job.name, job.nuclei, job.channel, job.grey_range, mark)


register(DsbExporter())


def write_dsb(
    folder: Path,
    name: str,
    nuclei: Nuclei,
    channel: MicroscopyImage,
    grey_range: GreyRange,
    mark: Path,
) -> None:
    """`images/<name>.png`, the image as the model saw it, in 8 bits, which is what it is trained
    on, and `masks/<name>_<label>.png`, 255 in the nucleus. What was written stands in `mark`.

    Raises:
        ValueError: so large that a mask of this size for each nucleus makes no sense; or somebody
            has changed what was written before.
    """
    if np.prod(nuclei.size) > MOST_DSB:
        raise ValueError(
            f"{nuclei.size} pixels, at most {MOST_DSB / 1e6:.0f} million are written in the form "
            "of the Data Science Bowl, which has a mask of this size for each nucleus"
        )
    if folder.exists() and (not mark.exists() or json.loads(mark.read_text()) != _state(folder)):
        raise ValueError(
            f"{folder}: changed by somebody since it was written; move it elsewhere, else the "
            "corrections would be lost"
        )
    for kind in ("images", "masks"):
        make_empty_folder(folder / kind)
    image = to_rgb(channel.read(0, 0, *channel.size), grey_range)
    (folder / "images" / f"{name}.png").write_bytes(encode_png(image))
    for label, crop in enumerate(nuclei.crops, start=1):
        pixels = np.zeros(nuclei.size, np.uint8)
        pixels[crop.window] = crop.mask * np.uint8(255)
        (folder / "masks" / f"{name}_{label:05d}.png").write_bytes(encode_png(pixels))
    write_atomically(mark, json.dumps(_state(folder)))


def _state(folder: Path) -> dict[str, list[int]]:
    """Size and time of each file."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    states = {str(path.relative_to(folder)): path.stat() for path in files}
    return {name: [state.st_size, state.st_mtime_ns] for name, state in states.items()}
