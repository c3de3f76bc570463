"""The base class of output formats, and their registry.

A format is a subclass of `Exporter` and a call of `register_exporter`, see `docs/extending.md`.
Exporters run in a separate process, so that the network does not wait for them. That process does
not import torch.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dsb2018.images.microscopy_image import MicroscopyImage
from dsb2018.inference.appearance import picture_of
from dsb2018.inference.measurements import Columns
from dsb2018.structures.contrast import GreyRange
from dsb2018.structures.nuclei import Nuclei

# What a format keeps of the nuclei of a block, between `encode` and `assemble`.
Encoded = Mapping[str, np.ndarray]


class Exporter:
    """An output format.

    Subclasses implement the methods that they need: `write` and `outputs` for one file per image,
    `write_stack` and `outputs` for one file per stack, or `write` and `join`, with `part_suffix`,
    for one file for all images. The nuclei of a large image are on disk. A format that would take
    long for millions of them is a `BlockExporter`.
    """

    name = ""  #: value of `--format`
    #: Suffix of the part files of images, which `join` reads; empty if there are none.
    part_suffix = ""
    stack_suffix = ""  #: the same for stacks

    def check(self) -> None:
        """Checks that the format can be written.

        Raises:
            ImportError: a library is missing.
        """

    def write(self, job: "ExportJob", columns: Columns) -> None:
        """Writes the files of one image, or of one slice of a stack.

        Args:
            job: the image and its nuclei.
            columns: the measurements of each nucleus, see `measure_nuclei`.

        Raises:
            OSError: a file cannot be written, for example because the disk is full.
            ValueError: the format does not support this image.
        """

    def write_stack(self, job: "StackJob") -> None:
        """Writes the files of one stack, after `write` was called for each of its slices."""

    def part_names(self, record: dict) -> list[str]:
        """Returns the names of the part files of an image file.

        Args:
            record: the record of the image file, see `records`.
        """
        images = [f"{row['image']}{self.part_suffix}" for row in record["images"]]
        stacks = [f"{stack}{self.stack_suffix}" for stack in record["stacks"]]
        return [*(images if self.part_suffix else ()), *(stacks if self.stack_suffix else ())]

    def outputs(self, output: Path, record: dict) -> list[Path]:
        """Returns the output files that belong to one finished image file.

        If one of them is missing, the next run processes the image file again.

        Args:
            output: output folder of the run.
            record: the record of the image file, see `records`.
        """
        return []

    def join(
        self, output: Path, parts: Sequence[Path], fields: Sequence[Mapping[str, str]]
    ) -> list[Path]:
        """Joins the part files of all images to one file.

        Args:
            output: output folder of the run.
            parts: the part files, in the order of the images.
            fields: {name: value} of the group of each part, see `Grouping`.

        Returns:
            The files that were written.
        """
        return []


class BlockExporter(Exporter):
    """A format that processes the blocks of a large image one by one, perhaps in many processes.

    Subclasses implement `encode` and `assemble`. An image that is not large is a single block.
    """

    def begin(self, job: "ExportJob") -> None:
        """Prepares the export of an image, before `encode` is called for its blocks.

        Args:
            job: the image and all its nuclei.
        """

    def encode(self, job: "ExportJob", columns: Columns) -> Encoded:
        """Processes a block.

        Args:
            job: the image and the nuclei that belong to the block.
            columns: the measurements of these nuclei.

        Returns:
            Arrays of any kind except objects.

        Raises:
            OSError, ValueError: see `Exporter.write`.
        """
        raise NotImplementedError

    def assemble(self, job: "ExportJob", blocks: Iterable[Encoded]) -> None:
        """Writes the files of an image.

        Args:
            job: the image and all its nuclei.
            blocks: what `encode` returned for each block.

        Raises:
            OSError, ValueError: see `Exporter.write`.
        """

    def write(self, job: "ExportJob", columns: Columns) -> None:
        """See `Exporter.write`."""
        self.begin(job)
        self.assemble(job, [self.encode(job, columns)])


class TextExporter(BlockExporter):
    """A text format in which each block of an image is a piece of text.

    Subclasses implement `encode_text` and `assemble_text`, see `encode` and `assemble`.
    """

    def encode_text(self, job: "ExportJob", columns: Columns) -> bytes:
        """Returns the text of a block."""
        raise NotImplementedError

    def assemble_text(self, job: "ExportJob", blocks: Iterable[bytes]) -> None:
        """Writes the files of an image from the text of each block."""
        raise NotImplementedError

    def encode(self, job: "ExportJob", columns: Columns) -> Encoded:
        """See `BlockExporter.encode`."""
        return {"text": np.frombuffer(self.encode_text(job, columns), np.uint8)}

    def assemble(self, job: "ExportJob", blocks: Iterable[Encoded]) -> None:
        """See `BlockExporter.assemble`."""
        self.assemble_text(job, (block["text"].tobytes() for block in blocks))


@dataclass(frozen=True)
class ExportJob:
    """A segmented image, or a slice of a stack, that is to be measured and exported.

    Args:
        name: name of the output files, without extension.
        image: the 2-D image with all channels, in which intensities are measured.
        channel: the nuclear channel, which was the model's input.
        grey_range: gray values of the channel that become 0 and 255 in the model's input.
        nuclei: the N nuclei of the image.
        exporters: the selected output formats.
        output: output folder of the run.
        parts: folder of the part files of the image file.
        fingerprint: hash of everything that the results depend on.
        is_part: whether the image file has several images. Each of them is then recorded as soon as
            it is exported.
        slice_number: index of the slice, from 0; None: not a slice of a stack.
        numbers: (N,) labels of the 3-D nuclei; None: not a slice of a stack.
        gamma: see `draw_overlay`.
        block: y, x, height and width of the block of which `nuclei` are, pixels; None: the image.
        all_nuclei: of the image; None: `nuclei`.
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
    gamma: float | None = None
    block: tuple[int, int, int, int] | None = None
    all_nuclei: Nuclei | None = None

    @property
    def window(self) -> tuple[int, int, int, int]:
        """y, x, height and width of the block, or of the image, pixels."""
        return self.block or (0, 0, *self.image.size)

    def labels(self, y: int, x: int, height: int, width: int) -> np.ndarray:
        """Returns a window of the label image, (height, width) int32."""
        nuclei = self.nuclei if self.all_nuclei is None else self.all_nuclei
        return nuclei.window(y, x, height, width)

    @property
    def picture(self) -> tuple[MicroscopyImage, GreyRange]:
        """The image that people see, and its gray values that become 0 and 255."""
        return picture_of(self.channel, self.grey_range)

    def part(self, exporter: Exporter) -> Path:
        """Returns the path of the exporter's part file for this image."""
        return self.parts / f"{self.name}{exporter.part_suffix}"


@dataclass(frozen=True)
class StackJob:
    """A stack whose slices were segmented.

    Args:
        name: name of the output files, without extension.
        image: the stack.
        slices: the nuclei of each slice, and the (N,) labels of their 3-D nuclei, from 1; 0 for
            nuclei that belong to none.
        count: number of 3-D nuclei.
        output: output folder of the run.
        parts: folder of the part files of the image file.
    """

    name: str
    image: MicroscopyImage
    slices: Sequence[tuple[Nuclei, np.ndarray]]
    count: int
    output: Path
    parts: Path


EXPORTERS: dict[str, Exporter] = {}
ALWAYS: list[Exporter] = []  # the tables, which are written with any `--format`


def register_exporter(exporter: Exporter, *, always: bool = False) -> None:
    """Adds an output format.

    Args:
        exporter: the format; its name must be unique.
        always: whether the format is written even if `--format` does not name it.

    Raises:
        ValueError: another format has the same name.
    """
    names = {registered.name for registered in (*EXPORTERS.values(), *ALWAYS)}
    if exporter.name in names:
        raise ValueError(
            f"output format {exporter.name} is already registered, expected another name"
        )
    if always:
        ALWAYS.append(exporter)
    else:
        EXPORTERS[exporter.name] = exporter


def choose_exporters(names: Sequence[str]) -> list[Exporter]:
    """Returns the exporters of the tables and of the given formats, without duplicates.

    Raises:
        ImportError: a format needs a library that is not installed.
    """
    exporters = [*ALWAYS, *(EXPORTERS[name] for name in dict.fromkeys(names))]
    for exporter in exporters:
        exporter.check()
    return exporters
