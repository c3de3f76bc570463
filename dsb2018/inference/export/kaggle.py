"""The submission format of the 2018 Data Science Bowl: one line of run lengths per nucleus."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np

from dsb2018.inference.export.base import ExportJob, TextExporter, register_exporter
from dsb2018.inference.export.parts import reading
from dsb2018.inference.measurements import Columns
from dsb2018.io.csv_text import quote_cell
from dsb2018.io.files import replacing
from dsb2018.structures.masks import Crop
from dsb2018.structures.nuclei import Nuclei

HEADER = "ImageId,EncodedPixels\n"


class KaggleExporter(TextExporter):
    """Writes `submission.csv`, one file for all images."""

    name = "kaggle"
    part_suffix = ".kaggle"

    def encode_text(self, job: ExportJob, columns: Columns) -> bytes:
        """See `TextExporter`."""
        return kaggle_lines(job.name, job.nuclei).encode()

    def assemble_text(self, job: ExportJob, blocks: Iterable[bytes]) -> None:
        """See `TextExporter`."""
        with replacing(job.part(self)) as file:
            file.writelines(blocks)
            # For an image without nuclei, Kaggle requires one line without run lengths.
            if not file.tell():
                file.write(f"{_quote(job.name)},\n".encode())

    def join(
        self, output: Path, parts: Sequence[Path], fields: Sequence[Mapping[str, str]]
    ) -> list[Path]:
        """See `Exporter.join`."""
        join_kaggle(output / "submission.csv", parts)
        return [output / "submission.csv"]


register_exporter(KaggleExporter())


def kaggle_lines(name: str, nuclei: Nuclei) -> str:
    """Returns a line for each nucleus of an image."""
    codes = [run_lengths(crop, nuclei.size[0]) for crop in nuclei.crops]
    return "".join(f"{_quote(name)},{code}\n" for code in codes)


def _quote(name: str) -> str:
    name = quote_cell(name)
    return '"' + name.replace('"', '""') + '"' if set(name) & set(',"\n') else name


def run_lengths(crop: Crop, height: int) -> str:
    """Returns the run lengths of a nucleus: pairs of first pixel and length, separated by spaces.

    Pixels are numbered from 1, from top to bottom and then from left to right.

    Args:
        crop: the nucleus.
        height: height of the image, pixels.
    """
    columns = np.zeros((crop.mask.shape[1], crop.mask.shape[0] + 1), np.int8)
    columns[:, :-1] = crop.mask.T
    steps = np.diff(columns.ravel(), prepend=0)
    starts, ends = np.flatnonzero(steps == 1), np.flatnonzero(steps == -1)
    column, row = np.divmod(starts, columns.shape[1])
    first = (crop.x + column) * height + crop.y + row + 1
    return " ".join(
        f"{start} {length}"
        for start, length in zip(first.tolist(), (ends - starts).tolist(), strict=True)
    )


def join_kaggle(path: Path, parts: Iterable[Path]) -> None:
    """Joins the lines of all images below one header."""
    with replacing(path) as file:
        file.write(HEADER.encode())
        for part in parts:
            with reading(part):
                lines = part.read_bytes()
            file.write(lines)
