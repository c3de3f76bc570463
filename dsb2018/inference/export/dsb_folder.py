"""The format of the 2018 Data Science Bowl: one folder per image and one mask file per nucleus.

`tools/prepare_dsb2018.py` reads these folders, so corrected masks can be used for training.
"""

import json
from pathlib import Path

import numpy as np

from dsb2018.images.microscopy_image import MicroscopyImage
from dsb2018.inference.export.base import Exporter, ExportJob, register_exporter
from dsb2018.inference.measurements import Columns
from dsb2018.io.files import make_empty_folder, write_atomically
from dsb2018.io.png import encode_png
from dsb2018.structures.contrast import GreyRange
from dsb2018.structures.nuclei import Nuclei

MAX_PIXELS = 1 << 24  # of an image


class DsbExporter(Exporter):
    """Writes `dsb/<image>/images` and `dsb/<image>/masks`."""

    name = "dsb"

    def write(self, job: ExportJob, columns: Columns) -> None:
        """See `Exporter.write`."""
        folder, mark = job.output / "dsb" / job.name, job.parts / f"{job.name}.dsb"
        write_dsb(folder, job.name, job.nuclei, *job.picture, mark)


register_exporter(DsbExporter())


def write_dsb(
    folder: Path,
    name: str,
    nuclei: Nuclei,
    channel: MicroscopyImage,
    grey_range: GreyRange,
    mark: Path,
) -> None:
    """Writes `images/<name>.png` and, for each nucleus, `masks/<name>_<label>.png`.

    Args:
        folder: output folder of the image.
        name: name of the image.
        nuclei: the nuclei of the image. The masks are 255 in the nucleus and 0 elsewhere.
        channel: the nuclear channel, which is written as the model's input: 8 bits, with stretched
            contrast.
        grey_range: gray values of the channel that become 0 and 255.
        mark: file in which the sizes and times of the written files are recorded.

    Raises:
        ValueError: the image is too large for one full mask per nucleus, or the folder was changed
            after it was written.
    """
    if np.prod(nuclei.size) > MAX_PIXELS:
        height, width = nuclei.size
        raise ValueError(
            f"an image of {height} × {width} pixels, expected at most {MAX_PIXELS // 10**6} "
            "million pixels for --format dsb, which writes a full mask for each nucleus"
        )
    if folder.exists() and (not mark.exists() or json.loads(mark.read_text()) != _state(folder)):
        raise ValueError(
            f"{folder}: changed after it was written; move the folder to keep the changes, or "
            "delete it"
        )
    for kind in ("images", "masks"):
        make_empty_folder(folder / kind)
    image = grey_range.to_rgb(channel.read(0, 0, *channel.size))
    (folder / "images" / f"{name}.png").write_bytes(encode_png(image))
    for label, crop in enumerate(nuclei.crops, start=1):
        pixels = np.zeros(nuclei.size, np.uint8)
        pixels[crop.window] = crop.mask * np.uint8(255)
        (folder / "masks" / f"{name}_{label:05d}.png").write_bytes(encode_png(pixels))
    write_atomically(mark, json.dumps(_state(folder)))


def _state(folder: Path) -> dict[str, list[int]]:
    """Returns the size and the modification time of each file in a folder."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    stats = {str(path.relative_to(folder)): path.stat() for path in files}
    return {name: [stat.st_size, stat.st_mtime_ns] for name, stat in stats.items()}
