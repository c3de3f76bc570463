"""Reads the files of one image into a record. Runs in several processes."""

import hashlib
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

from dsb2018.errors import InputError
from dsb2018.io.names import file_name
from dsb2018.prepare.png_files import EmptyMaskError, png_size, read_mask, single_image_file
from dsb2018.prepare.solution import Solution
from dsb2018.prepare.source import Source, SourceImage, open_source
from dsb2018.structures.labels import stack_labels
from dsb2018.structures.masks import RLE, Crop, encode_crop


class NucleusRecord(NamedTuple):
    """One nucleus in COCO's terms.

    Args:
        box: [x, y, width, height], pixels.
        area: number of pixels.
        rle: compressed RLE of the mask.
    """

    box: list[int]
    area: int
    rle: RLE


@dataclass
class ImageRecord:
    """One image of a dataset.

    Args:
        image_id: id in the DSB data.
        file_name: path of the image, relative to the image root of the dataset.
        height, width: pixels.
        nuclei: the ground truth.
        label_file: path of the label layers, relative to the prepared root; None: no ground truth.
    """

    image_id: str
    file_name: str
    height: int
    width: int
    nuclei: list[NucleusRecord] = field(default_factory=list)
    label_file: str | None = None


@dataclass(frozen=True)
class RecordReader:
    """Reads records, and writes label files. Is pickled once per process.

    Args:
        source: the folder or archive.
        solution: ground truth from a CSV file; None: from mask files.
        has_ground_truth: if False, the images get no nuclei and no label files.
        staging: folder for label files and images from an archive, with the same subfolders as the
            prepared root.
        skip_bad: skip unusable images and add a note, instead of raising an error.
        copy_images: also write the image files to `staging`.
    """

    source: Source
    solution: Solution | None
    has_ground_truth: bool
    staging: Path
    skip_bad: bool
    copy_images: bool

    def __call__(self, image: SourceImage) -> tuple[ImageRecord | None, list[str]]:
        """Reads one image.

        Returns:
            The record, or None if the image was skipped; and notes about problems.

        Raises:
            InputError: a file is unusable, and `skip_bad` is False.
        """
        notes: list[str] = []
        try:
            record = self._read(image, notes)
        except InputError as error:
            if not self.skip_bad:
                raise
            return None, [*notes, f"image skipped: {error}"]
        return record, notes

    def reopened(self) -> "RecordReader":
        """Returns a copy that opens the source anew: processes cannot share an open archive."""
        return replace(self, source=open_source(self.source.path))

    def _read(self, image: SourceImage, notes: list[str]) -> ImageRecord:
        root = str(self.source.path)
        name = single_image_file(image, root)
        data = self.source.read(name)
        height, width = png_size(data, f"{root}/{name}")
        if self.copy_images:
            # The digest distinguishes images of several archives that have the same id.
            name = f"images/{file_name(image.image_id)}.{_digest(data)}.png"
            _write(self.staging / name, data)
        record = ImageRecord(image.image_id, name, height, width)
        if self.has_ground_truth:
            self._add_ground_truth(record, self._read_nuclei(image, record, notes), notes)
        return record

    def _read_nuclei(self, image: SourceImage, record: ImageRecord, notes: list[str]) -> list[Crop]:
        if self.solution is not None:
            return self.solution.crops(record.image_id, record.height, record.width)
        if image.mask_files is None:
            path = f"{self.source.path}/{image.image_id}"
            raise InputError(path, "no masks folder", "the other images have one")
        crops = []
        for name in image.mask_files:
            path = f"{self.source.path}/{name}"
            try:
                crops.append(read_mask(self.source.read(name), path, record.height, record.width))
            except EmptyMaskError as error:
                if not self.skip_bad:
                    raise
                notes.append(f"mask skipped: {error}")
        return crops

    def _add_ground_truth(self, record: ImageRecord, crops: list[Crop], notes: list[str]) -> None:
        size = record.height, record.width
        record.nuclei = [NucleusRecord(c.box, c.area, encode_crop(c, *size)) for c in crops]
        path = f"{self.source.path}/{record.image_id}"
        try:
            layers, overlapping = stack_labels(crops, *size)
        except ValueError as error:
            raise InputError(path, str(error)) from error
        if overlapping:
            notes.append(f"{path}: {overlapping} masks overlap other masks; all are kept")
        record.label_file = _label_file(record)
        np.save(self.staging / record.label_file, layers)


def _label_file(record: ImageRecord) -> str:
    """Returns a name with a digest of the content, so an old file never fits a new dataset."""
    codes = "".join(nucleus.rle["counts"] + "\n" for nucleus in record.nuclei)
    digest = _digest(f"{record.height} {record.width} {codes}".encode())
    return f"labels/{file_name(record.image_id)}.{digest}.npy"


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:12]


def _write(path: Path, data: bytes) -> None:
    with open(path, "wb") as file:
        file.write(data)
