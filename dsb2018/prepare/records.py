"""From the files of one image to its record: the step that runs in several processes."""

import hashlib
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

from dsb2018.io.names import file_name
from dsb2018.prepare.errors import BadInput
from dsb2018.prepare.png_files import EmptyMask, png_size, read_mask, the_image
from dsb2018.prepare.solution import Solution
from dsb2018.prepare.source import Entry, Source, open_source
from dsb2018.structures.labels import stack_labels
from dsb2018.structures.masks import RLE, Crop, encode_crop


class Nucleus(NamedTuple):
    """One nucleus as COCO wants it: box [x, y, width, height] and area in pixels."""

    box: list[int]
    area: int
    rle: RLE


@dataclass
class Record:
    """One image of a DSB folder. `label_file` is relative to the prepared root."""

    image_id: str
    file_name: str
    height: int
    width: int
    nuclei: list[Nucleus] = field(default_factory=list)
    label_file: str | None = None
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Reader:
    """Makes records; pickled once to each process.

    Args:
        source: where the files come from.
        solution: truth from a CSV in place of mask files, or None.
        has_truth: False leaves the images without nuclei and without label files.
        staging: folder that label files, and images out of an archive, are written to; its tree
            is that of the prepared root.
        skip_bad: leave out what is bad, with a note, in place of raising.
        copy_images: also write the image files to staging.
    """

    source: Source
    solution: Solution | None
    has_truth: bool
    staging: Path
    skip_bad: bool
    copy_images: bool

    def __call__(self, entry: Entry) -> tuple[Record | None, list[str]]:
        """One entry's record (None: left out) and what was wrong with it.

        Raises:
            BadInput: the first bad file, without `skip_bad`.
        """
        notes: list[str] = []
        try:
            record = self._read(entry, notes)
        except BadInput as error:
            if not self.skip_bad:
                raise
            return None, [*notes, f"image left out: {error}"]
        return record, notes

    def reopened(self) -> "Reader":
        """A copy with a source of its own: processes cannot share an archive's open file."""
        return replace(self, source=open_source(self.source.path))

    def _read(self, entry: Entry, notes: list[str]) -> Record:
        root = str(self.source.path)
        name = the_image(entry, root)
        data = self.source.read(name)
        height, width = png_size(data, f"{root}/{name}")
        if self.copy_images:
            # Named after its content, like a label file: archives may use the same ids.
            name = f"images/{file_name(entry.image_id)}.{_digest(data)}.png"
            _write(self.staging / name, data)
        record = Record(entry.image_id, name, height, width)
        if self.has_truth:
            self._add_truth(record, self._crops(entry, record, notes), notes)
        return record

    def _crops(self, entry: Entry, record: Record, notes: list[str]) -> list[Crop]:
        if self.solution is not None:
            return self.solution.crops(record.image_id, record.height, record.width)
        if entry.masks is None:
            path = f"{self.source.path}/{entry.image_id}"
            raise BadInput(path, "no masks folder", "the other images have one")
        crops = []
        for name in entry.masks:
            path = f"{self.source.path}/{name}"
            try:
                crops.append(read_mask(self.source.read(name), path, record.height, record.width))
            except EmptyMask as error:
                if not self.skip_bad:
                    raise
                notes.append(f"mask left out: {error}")
        return crops

    def _add_truth(self, record: Record, crops: list[Crop], notes: list[str]) -> None:
        size = record.height, record.width
        record.nuclei = [Nucleus(c.box, c.area, encode_crop(c, *size)) for c in crops]
        path = f"{self.source.path}/{record.image_id}"
        try:
            layers, overlapping = stack_labels(crops, *size)
        except ValueError as error:
            raise BadInput(path, str(error)) from error
        if overlapping:
            notes.append(f"{path}: {overlapping} of its masks overlap others (all kept)")
        record.label_file = _label_file(record)
        np.save(self.staging / record.label_file, layers)


def _label_file(record: Record) -> str:
    """A name that follows the content, so that no label file ever fits another truth."""
    codes = "".join(nucleus.rle["counts"] + "\n" for nucleus in record.nuclei)
    digest = _digest(f"{record.height} {record.width} {codes}".encode())
    return f"labels/{file_name(record.image_id)}.{digest}.npy"


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:12]


def _write(path: Path, data: bytes) -> None:
    with open(path, "wb") as file:
        file.write(data)
