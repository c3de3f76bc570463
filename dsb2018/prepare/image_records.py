"""Reads one image and its ground truth into a record. Runs in several processes."""

import pickle
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np

from dsb2018.errors import InputError
from dsb2018.io.names import file_name
from dsb2018.prepare.forms import Form, SourceImage
from dsb2018.prepare.image_store import ImageStore, digest
from dsb2018.prepare.solution import Solution
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
        image_id: name of the image.
        file_name: path of the image, relative to the image root of the dataset.
        height, width: pixels.
        nuclei: the ground truth.
        label_file: path of the label layers, relative to the prepared root; None: no ground truth.
        foreground_only: whether the ground truth is one mask of all nuclei together.
    """

    image_id: str
    file_name: str
    height: int
    width: int
    nuclei: list[NucleusRecord] = field(default_factory=list)
    label_file: str | None = None
    foreground_only: bool = False


@dataclass(frozen=True)
class RecordReader:
    """Reads records, and writes label files.

    Args:
        form: the input.
        solution: ground truth from a CSV file; None: from `form`.
        has_ground_truth: if False, the images get no nuclei and no label files.
        staging: folder for label files and copied images, with the same subfolders as the prepared
            root.
        skip_bad: skip unusable images and add a note, instead of raising an error.
        store: decides where the pixels of the images are stored.
    """

    form: Form
    solution: Solution | None
    has_ground_truth: bool
    staging: Path
    skip_bad: bool
    store: ImageStore

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
        """Returns a copy that opens the input anew: processes cannot share an open archive."""
        return pickle.loads(pickle.dumps(self))

    def _read(self, image: SourceImage, notes: list[str]) -> ImageRecord:
        name = self._single_image_file(image)
        stored = self.store(self.form.files, name, image.image_id)
        record = ImageRecord(image.image_id, stored.file_name, stored.height, stored.width)
        if self.has_ground_truth:
            self._add_ground_truth(image, record, self._read_nuclei(image, record, notes), notes)
        return record

    def _single_image_file(self, image: SourceImage) -> str:
        if len(image.image_files) == 1:
            return image.image_files[0]
        raise InputError(*self.form.explain_files(image))

    def _read_nuclei(self, image: SourceImage, record: ImageRecord, notes: list[str]) -> list[Crop]:
        if self.solution is not None:
            return self.solution.crops(record.image_id, record.height, record.width)
        if image.truth is None:
            path = self.form.files.location(image.image_files[0])
            raise InputError(path, "no ground truth of this image", "the other images have one")
        return self.form.read_nuclei(image, record.height, record.width, notes)

    def _add_ground_truth(
        self, image: SourceImage, record: ImageRecord, crops: list[Crop], notes: list[str]
    ) -> None:
        size = record.height, record.width
        record.nuclei = [NucleusRecord(c.box, c.area, encode_crop(c, *size)) for c in crops]
        record.foreground_only = self.solution is None and self.form.is_foreground_only(image)
        path = self.form.files.location(image.image_files[0])
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
    code = digest(f"{record.height} {record.width} {codes}".encode())
    return f"labels/{file_name(record.image_id)}.{code}.npy"
