"""Reads the ground truth of test images in Kaggle's form, `stage1_solution.csv`.

The columns are `ImageId, EncodedPixels, Height, Width, Usage`, with one row per nucleus.
`EncodedPixels` contains pairs `start length`. Pixels are numbered from 1, top to bottom, then left
to right.
"""

import csv
import os
from pathlib import Path

import numpy as np

from dsb2018.errors import InputError
from dsb2018.structures.masks import Crop, crop_mask

COLUMNS = {"ImageId", "EncodedPixels", "Height", "Width", "Usage"}


class Solution:
    """The rows of a solution file, by image id.

    Args:
        path: the CSV file.

    Raises:
        FileNotFoundError: the file does not exist.
        InputError: columns are missing, a row has another number of cells than the header, or the
            file is not text.
    """

    def __init__(self, path: str | os.PathLike):
        self.path = Path(path)
        self._rows: dict[str, list[tuple[int, dict]]] = {}  # line number and cells
        self.ignored: set[str] = set()  # ids of images that Kaggle did not score
        if not self.path.is_file():
            raise FileNotFoundError(
                f"{path}: no such regular file (expected a CSV file like stage1_solution.csv)"
            )
        csv.field_size_limit(2**31 - 1)
        try:
            with open(self.path, newline="", encoding="utf-8-sig") as file:
                self._read(csv.DictReader(file))
        except (UnicodeDecodeError, csv.Error) as error:
            raise InputError(path, f"not a text file: {error}", "expected a CSV file") from error

    def _read(self, reader: csv.DictReader) -> None:
        missing = COLUMNS - set(reader.fieldnames or ())
        if missing:
            problem = f"columns {sorted(missing)} are missing"
            raise InputError(self.path, problem, f"expected {sorted(COLUMNS)}")
        for row in reader:
            if None in row.values() or None in row:
                raise InputError(
                    f"{self.path}:{reader.line_num}",
                    "the row has another number of cells than the header",
                    "correct the row",
                )
            if row["Usage"] == "Ignored":
                self.ignored.add(row["ImageId"])
            else:
                self._rows.setdefault(row["ImageId"], []).append((reader.line_num, row))

    @property
    def image_ids(self) -> set[str]:
        """Ids of the images that have a row and are not marked `Ignored`."""
        return set(self._rows)

    def crops(self, image_id: str, height: int, width: int) -> list[Crop]:
        """Returns the nuclei of one image, in the order of the file.

        Raises:
            InputError: the image has no row or another size, or `EncodedPixels` is not made of
                pairs of whole numbers within the image.
        """
        if image_id not in self._rows:
            raise InputError(self.path, f"no row for image {image_id}", "every image needs a row")
        crops = []
        for line, row in self._rows[image_id]:
            location = f"{self.path}:{line}"
            if (row["Height"], row["Width"]) != (str(height), str(width)):
                problem = f"Height and Width of image {image_id} are {row['Height']}×{row['Width']}"
                raise InputError(location, problem, f"the image has {height}×{width} pixels")
            runs = row["EncodedPixels"].split()
            if runs:
                crops.append(crop_mask(_paint(runs, height, width, location)))
        return crops


def _paint(runs: list[str], height: int, width: int, location: str) -> np.ndarray:
    """Decodes runs into a (height, width) uint8 mask of 0 and 1."""
    try:
        numbers = np.array(runs, np.int64)
    except (ValueError, OverflowError) as error:
        problem = f"EncodedPixels has values that are not whole numbers: {error}"
        raise InputError(location, problem, "expected pairs `start length`") from error
    if len(numbers) % 2:
        problem = f"EncodedPixels has {len(numbers)} numbers"
        raise InputError(location, problem, "expected pairs `start length`")
    numbers = np.minimum(numbers, 1 << 40)  # larger than any image; prevents overflow in the sums
    starts, ends = numbers[::2] - 1, numbers[::2] - 1 + numbers[1::2]
    if starts.min() < 0 or (ends <= starts).any() or ends.max() > height * width:
        raise InputError(
            location,
            f"EncodedPixels has invalid runs, from pixel {starts.min() + 1} to {ends.max()}",
            f"expected pixels 1 to {height * width} and positive lengths",
        )
    pixels = np.zeros(height * width, np.uint8)
    for start, end in zip(starts, ends, strict=True):
        pixels[start:end] = 1
    return np.ascontiguousarray(pixels.reshape(width, height).T)
