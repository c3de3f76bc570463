"""Nuclei that are not searched but read, for example after a correction by hand."""

import hashlib
import json
import logging
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import takewhile
from pathlib import Path

import numpy as np

from dsb2018.errors import InputError, UsageError
from dsb2018.inference.tiling.tiles import Tiling
from dsb2018.io.names import printable
from dsb2018.prepare.forms import SourceImage, open_form
from dsb2018.structures.contrast import GreyRange, find_range
from dsb2018.structures.masks import Crop
from dsb2018.structures.nuclei import Nuclei

logger = logging.getLogger(__name__)

CLIPPED = 0.1  # percentage of the darkest and the brightest pixels of the pictures


class GivenNuclei:
    """Takes the place of a `Predictor` in a `PredictionRun`."""

    estimates_diameter = False
    tiling = Tiling()

    def __init__(self, images: Sequence[str], truth: Path, output: Path):
        """
        Args:
            images: the inputs of the run: one folder, or files of one folder.
            truth: label images, ROI archives, GeoJSON or COCO JSON, see `docs/own-data.md`.
            output: folder of the results.

        Raises:
            FileNotFoundError: a path does not exist.
            InputError: the nuclei cannot be matched with the images.
            UsageError: the images are in several folders, the output is the folder of the nuclei,
                or `truth` is a label image, GeoJSON or a ROI of a single image.
        """
        folders = {path if path.is_dir() else path.parent for path in map(Path, images)}
        if len(folders) != 1:
            raise UsageError("--measure-only: expected images of one folder")
        if output.resolve() in (truth.resolve(), *truth.resolve().parents):
            raise UsageError(
                f"--measure-only {truth}: it is in the output folder, whose files would be replaced"
            )
        if truth.is_file() and truth.suffix.lower() not in (".json", ".zip"):
            raise UsageError(
                f"--measure-only {truth}: expected the folder of this file, or a COCO JSON file"
            )
        with _own_remedies():
            self._form = open_form(folders.pop(), truth)
            listed, _ = self._form.list_images()
        root = Path(self._form.files.path)
        self._images: dict[Path, SourceImage] = {
            (root / name).resolve(): image for image in listed for name in image.image_files
        }
        files = [truth] if truth.is_file() else sorted(path for path in truth.rglob("*"))
        states = [(printable(f), f.stat().st_size, f.stat().st_mtime_ns) for f in files]
        self.fingerprint = hashlib.sha256(json.dumps(states).encode()).hexdigest()
        self.preprocess = _Stretch()

    def use_threads(self, *, all_but: int = 0) -> None:
        """Does nothing; there is no network."""

    def find_zoom(self, read: object, size: tuple[int, int]) -> float:
        """Is called for stacks.

        Raises:
            ValueError: always.
        """
        raise ValueError("this is a stack; --measure-only is for 2-D images")

    def read(self, path: Path, size: tuple[int, int]) -> Nuclei:
        """Returns the nuclei of an image file of (H, W) pixels, without overlaps; all scores are 1.

        Raises:
            InputError: the nuclei cannot be read, or belong to an image of another size.
            ValueError: there are none of this image.
        """
        image = self._images.get(path.resolve())
        if image is None or image.truth is None:
            raise ValueError(f"no nuclei of this image in {self._form.truth_files.path}")
        notes: list[str] = []
        with _own_remedies():
            crops = self._form.read_nuclei(image, *size, notes)
        visible = visible_parts(crops, size)
        if len(visible) < len(crops):
            lost = len(crops) - len(visible)
            notes.append(f"{printable(path)}: {lost} outlines that others cover were left out")
        for note in notes:
            logger.warning("%s", printable(note))
        return Nuclei(size, visible, np.ones(len(visible), np.float32))


@contextmanager
def _own_remedies() -> Iterator[None]:
    """Replaces remedies that are options of `prepare`."""
    try:
        yield
    except InputError as error:
        if "--" not in str(error):
            raise
        path, problem, _ = error.args
        sentences = takewhile(lambda text: "--" not in text, problem.split(". "))
        remedy = "docs/own-data.md describes the files"
        raise InputError(path, ". ".join(sentences), remedy) from error


def visible_parts(crops: Sequence[Crop], size: tuple[int, int]) -> list[Crop]:
    """Removes the overlaps of outlines that people drew: shared pixels belong to the smaller one.

    An outline that loses more than half of its pixels is a duplicate, or encloses others. It is
    removed.

    Args:
        crops: masks of the outlines.
        size: (H, W) of the image, pixels.

    Returns:
        The masks that are left, in the same order.
    """
    occupied = np.zeros(size, bool)
    parts: dict[int, Crop] = {}
    for index in sorted(range(len(crops)), key=lambda index: crops[index].area):
        crop = crops[index]
        visible = crop.mask & ~occupied[crop.window]
        if crop.area and 2 * np.count_nonzero(visible) >= crop.area:
            occupied[crop.window] |= visible
            parts[index] = crop.keep(visible)
    return [parts[index] for index in sorted(parts)]


class _Stretch:
    """The contrast of the pictures."""

    def grey_range(self, windows: Iterable[np.ndarray]) -> GreyRange:
        """Returns the gray values that become 0 and 255, see `Preprocessing.grey_range`."""
        return find_range(windows, CLIPPED)
