"""Truth as Kaggle gives it for test images: `stage1_solution.csv`.

Columns `ImageId, EncodedPixels, Height, Width, Usage`, one row a nucleus. `EncodedPixels` holds
pairs `start length`; pixels count from 1, top to bottom, then left to right.
"""

import csv
import os
from pathlib import Path

import numpy as np

from dsb2018.prepare.errors import BadInput
from dsb2018.structures.masks import Crop, crop_mask

COLUMNS = {"ImageId", "EncodedPixels", "Height", "Width", "Usage"}


class Solution:
    """The rows of a solution file, by image id.

    Args:
        path: the CSV file.

    Raises:
        FileNotFoundError: there is no such file.
        BadInput: columns are missing, or the file is not text.
    """

    def __init__(self, path: str | os.PathLike):
        self.path = Path(path)
        self._rows: dict[str, list[tuple[int, dict]]] = {}
        self.ignored: set[str] = set()  # ids of images that were not scored
        if not self.path.is_file():
            raise FileNotFoundError(
                f"{path}: no such regular file (expected a CSV like stage1_solution.csv)"
            )
        csv.field_size_limit(2**31 - 1)
        try:
            with open(self.path, newline="", encoding="utf-8-sig") as file:
                reader = csv.DictReader(file)
                missing = COLUMNS - set(reader.fieldnames or ())
                if missing:
                    raise BadInput(
                        path, f"columns {sorted(missing)} missing", f"expected {sorted(COLUMNS)}"
                    )
                for row in reader:
                    if None in row.values() or None in row:
                        where = f"{path}:{reader.line_num}"
                        raise BadInput(where, "another number of cells than the header", "mend it")
                    if row["Usage"] == "Ignored":
                        self.ignored.add(row["ImageId"])
                    else:
                        self._rows.setdefault(row["ImageId"], []).append((reader.line_num, row))
        except (UnicodeDecodeError, csv.Error) as error:
            raise BadInput(path, f"not a text file: {error}", "expected a CSV") from error

    @property
    def image_ids(self) -> set[str]:
        """Ids of the images that have a row, but for those marked `Ignored`."""
        return set(self._rows)

    def crops(self, image_id: str, height: int, width: int) -> list[Crop]:
        """The nuclei of one image, in the order of the file.

        Raises:
            BadInput: no row for the image, another size, or runs that are not pairs, are not
                numbers, or leave the image.
        """
        if image_id not in self._rows:
            raise BadInput(self.path, f"no row for image {image_id}", "every image needs one")
        crops = []
        for line, row in self._rows[image_id]:
            where = f"{self.path}:{line}"
            if (row["Height"], row["Width"]) != (str(height), str(width)):
                found = f"image {image_id} is {row['Height']}×{row['Width']}"
                raise BadInput(where, found, f"its file has {height}×{width} pixels")
            runs = row["EncodedPixels"].split()
            if runs:
                crops.append(crop_mask(_paint(runs, height, width, where)))
        return crops


def _paint(runs: list[str], height: int, width: int, where: str) -> np.ndarray:
    try:
        numbers = np.array(runs, np.int64)
    except (ValueError, OverflowError) as error:
        raise BadInput(where, f"runs that are not whole numbers of pixels: {error}") from error
    if len(numbers) % 2:
        raise BadInput(where, f"{len(numbers)} numbers of runs", "expected pairs `start length`")
    numbers = np.minimum(numbers, 1 << 40)  # no image has as many pixels, and no sum overflows
    starts, ends = numbers[::2] - 1, numbers[::2] - 1 + numbers[1::2]
    if starts.min() < 0 or (ends <= starts).any() or ends.max() > height * width:
        found = f"runs leave the image: pixels {starts.min() + 1} to {ends.max()}"
        raise BadInput(where, found, f"its {height}×{width} pixels are 1 to {height * width}")
    pixels = np.zeros(height * width, np.uint8)
    for start, end in zip(starts, ends, strict=True):
        pixels[start:end] = 1
    return np.ascontiguousarray(pixels.reshape(width, height).T)
