"""The base class of all forms of input data."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dsb2018.prepare.input_files import InputFiles
from dsb2018.structures.masks import Crop

# Datasets by the name of a folder, as data are commonly divided.
SUBSETS = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "valid", "validation"), "val"),
    **dict.fromkeys(("test", "testing"), "test"),
}


@dataclass(frozen=True)
class SourceImage:
    """One image of the input. Names are relative to the input and have forward slashes.

    Args:
        image_id: unique name of the image.
        image_files: files of the image; any other number than one is an error of the input.
        truth: what its form reads the nuclei from: names of files, or annotations. None: the image
            has no ground truth.
        subset: "train", "val" or "test", if the input is divided into such folders, else "".
    """

    image_id: str
    image_files: tuple[str, ...]
    truth: tuple[Any, ...] | None
    subset: str = ""


@dataclass(frozen=True)
class FormOptions:
    """How to understand the input.

    Args:
        label_values: meaning of the values of label images, one of `LABEL_VALUES` in
            `label_files.py`; None: "nuclei", or "regions" for color images, or "foreground" in a
            folder of this name.
        categories: names of the categories that are nuclei; empty: all.
        json_file: COCO JSON file; None: it is searched for in the input.
        skip_bad: leave out unusable nuclei without which the ground truth of an image is still
            complete, and add a note, instead of raising an error.
    """

    label_values: str | None = None
    categories: tuple[str, ...] = ()
    json_file: Path | None = None
    skip_bad: bool = False


class Form(ABC):
    """A form of input data. It is pickled once for each process.

    Args:
        files: the images.
        truth_files: the ground truth; equal to `files` if both are in one place.
        options: how to understand the input.
    """

    name = ""  #: value of `--form`
    has_categories = False  #: whether its nuclei have categories that `--category` selects

    def __init__(self, files: InputFiles, truth_files: InputFiles, options: FormOptions):
        self.files, self.truth_files, self.options = files, truth_files, options

    @abstractmethod
    def recognizes(self) -> bool:
        """Whether the input has this form."""

    @abstractmethod
    def list_images(self) -> tuple[list[SourceImage], list[str]]:
        """Returns the images, sorted by id, and notes for the report.

        Raises:
            InputError: the input does not have this form.
        """

    @abstractmethod
    def read_nuclei(
        self, image: SourceImage, height: int, width: int, notes: list[str]
    ) -> list[Crop]:
        """Reads the true nuclei of an image that has ground truth.

        Args:
            image: an image of `list_images`.
            height, width: its size, pixels.
            notes: list to which notes for the report are added.

        Raises:
            InputError: the ground truth is unusable.
        """

    def explain_files(self, image: SourceImage) -> tuple[str, str, str]:
        """Returns what is wrong with an image that has no file or several: the location, the
        problem and the remedy."""
        names, path = image.image_files, str(self.files.path)
        if not names:
            return path, f"image {image.image_id} is missing", "add it, or pass --skip-bad"
        remedy = "keep one of them, or pass the folder of the images: --input IMAGES --truth FILE"
        return path, f"image {image.image_id} may be any of {', '.join(names)}", remedy

    def is_foreground_only(self, image: SourceImage) -> bool:
        """Whether the ground truth of an image tells nuclei from background, but not from each
        other. `read_nuclei` then returns at most one mask, of all nuclei together."""
        return False


def find_subset(parts: tuple[str, ...]) -> str:
    """Returns the subset that a folder of a path names, see `SUBSETS`; "" if there is none."""
    return next((SUBSETS[part.lower()] for part in parts if part.lower() in SUBSETS), "")
