"""What an output format is, and the formats by name.

A format is one class and one call of `register`; see `docs/extending.md`. Exporters run in a
process of their own, which does not import torch, so that the network does not wait for them.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dsb2018.inference.measurements import Columns
from dsb2018.inference.microscopy_image import MicroscopyImage
from dsb2018.structures.contrast import GreyRange
from dsb2018.structures.nuclei import Nuclei


class Exporter:
    """One output format.

    Subclasses implement what they need: files for each image (`write`, `outputs`), files for each
    stack (`write_stack`), or one file for all images (`part_suffix`, `write`, `join`).
    """

    name = ""  # for `--format`
    # Suffixes of the files for each image and for each stack, of which `join` makes one file.
    part_suffix = ""
    stack_suffix = ""

    def write(self, job: "ExportJob", columns: Columns) -> None:
        """Writes what the format has about one image.

        Args:
            job: the image and its nuclei.
            columns: what was measured of each nucleus, see `measure_nuclei`.

        Raises:
            OSError: as on a full disk.
            ValueError: the format cannot hold this image.
        """

    def write_stack(self, job: "StackJob") -> None:
        """Writes what the format has about a stack; its slices come to `write`."""

    def part_names(self, record: dict) -> list[str]:
        """Names of the files of one image file that `join` reads."""
        images = [f"{row['image']}{self.part_suffix}" for row in record["images"]]
        stacks = [f"{stack}{self.stack_suffix}" for stack in record["stacks"]]
        return [*(images if self.part_suffix else ()), *(stacks if self.stack_suffix else ())]

    def outputs(self, output: Path, record: dict) -> list[Path]:
        """The files in the output folder that belong to a finished image file, see `records`. If
        one is missing, the next run computes the image file again."""
        return []

    def join(self, output: Path, parts: Sequence[Path]) -> list[Path]:
        """Makes one file of the parts of all images; returns what was written."""
        return []


@dataclass(frozen=True)
class ExportJob:
    """An image whose nuclei were found.

    Args:
        name: of its files.
        image: 2-D, with all its channels, which are measured.
        channel: what the model saw of it.
        grey_range: of the channel; stretched to 8 bits for the model.
        nuclei: of the image.
        exporters: the formats that are wanted.
        output: the folder of the run.
        parts: the folder for the image's parts of joined files.
        fingerprint: of all that the results depend on.
        is_part: whether the file has several images. Then each is recorded as soon as it is done.
        slice_number: of a slice of a stack, else None.
        numbers: (N,) numbers of its nuclei in the stack, else None.
    """

    name: str
    image: MicroscopyImage
    channel: MicroscopyImage
    grey_range: GreyRange
    nuclei: Nuclei
    exporters: Sequence[Exporter]
    output: Path
    parts: Path
    fingerprint: str
    is_part: bool = False
    slice_number: int | None = None
    numbers: np.ndarray | None = None

    def part(self, exporter: Exporter) -> Path:
        """The file of this image that the exporter's `join` reads."""
        return self.parts / f"{self.name}{exporter.part_suffix}"


@dataclass(frozen=True)
class StackJob:
    """A stack whose slices are done.

    Args:
        name: of its files.
        image: the stack.
        slices: the nuclei of each slice, and their numbers in the stack.
        count: number of 3-D nuclei.
        output: the folder of the run.
        parts: the folder for parts of joined files.
    """

    name: str
    image: MicroscopyImage
    slices: Sequence[tuple[Nuclei, np.ndarray]]
    count: int
    output: Path
    parts: Path


EXPORTERS: dict[str, Exporter] = {}
ALWAYS: list[Exporter] = []  # the tables, which need no `--format`


def register(exporter: Exporter, *, always: bool = False) -> None:
    """Adds an output format.

    Args:
        exporter: with a name that is not taken.
        always: whether it is written without being asked for.

    Raises:
        ValueError: the name is taken.
    """
    taken = {known.name for known in (*EXPORTERS.values(), *ALWAYS)}
    if exporter.name in taken:
        raise ValueError(f"output format {exporter.name} is registered already")
    if always:
        ALWAYS.append(exporter)
    else:
        EXPORTERS[exporter.name] = exporter


def choose_exporters(names: Sequence[str]) -> list[Exporter]:
    """The tables, and the formats of some names."""
    return [*ALWAYS, *(EXPORTERS[name] for name in dict.fromkeys(names))]
