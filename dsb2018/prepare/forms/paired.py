"""Forms with one file of ground truth for each image: label images, ImageJ ROIs, GeoJSON."""

import shlex
from abc import abstractmethod
from functools import cached_property
from pathlib import Path, PurePosixPath

from dsb2018.errors import InputError, UsageError
from dsb2018.io.files import read_file
from dsb2018.prepare.forms import label_files, outline_files
from dsb2018.prepare.forms.form import Form, SourceImage
from dsb2018.prepare.forms.image_ids import unique_ids
from dsb2018.prepare.forms.pairing import FOREGROUND, Pairs, pair, select_images, select_truth
from dsb2018.structures.masks import Crop

LAYOUTS = (
    "expected label images in a folder `labels` or `masks` beside the folder `images`, or beside "
    "the images as <image>_masks.png, or in another folder: --truth FOLDER"
)


class PairedForm(Form):
    """The base class of these forms."""

    suffixes: tuple[str, ...] = ()  # extensions of the ground truth

    def recognizes(self) -> bool:
        """Whether there are images and files of ground truth, even if their names do not pair."""
        return bool(self._pairs.images and (self._pairs.truth or self._pairs.unpaired))

    @cached_property
    def _pairs(self) -> Pairs:
        is_separate = self.truth_files is not self.files
        names = [name for name in self.files.names if not name.endswith("/")]
        inside = ""
        if is_separate:
            truth_names = [name for name in self.truth_files.names if not name.endswith("/")]
            folder, root = self.truth_files.path.resolve(), self.files.path.resolve()
            if folder != root and folder.is_relative_to(root):
                inside = f"{folder.relative_to(root).as_posix()}/"
        images = select_images(names, inside)
        return pair(
            images, select_truth(truth_names if is_separate else names, self.suffixes, is_separate)
        )

    def __getstate__(self) -> dict:
        """Pickles the form without its pairs."""
        return {name: value for name, value in self.__dict__.items() if name != "_pairs"}

    def list_images(self) -> tuple[list[SourceImage], list[str]]:
        """See `Form.list_images`."""
        pairs, path = self._pairs, self.files.path
        if not pairs.images:
            raise InputError(path, "no images in it", LAYOUTS)
        first = pairs.images[0].name
        if not pairs.truth and pairs.unpaired:
            remedy = "expected the same name but for the extension and an ending such as _masks"
            if len(pairs.images) == 1:
                remedy += "; if each file is the mask of one nucleus, pass the parent folder"
            raise InputError(
                path,
                f"the names of the images and of the ground truth do not match, for example "
                f"{first} and {pairs.unpaired[0]}",
                remedy,
            )
        if not pairs.truth:
            raise InputError(
                path,
                f"{len(pairs.images)} images without ground truth, for example {first}",
                f"{LAYOUTS}; to segment them: "
                f"python tools/predict.py --input {shlex.quote(str(path))} --output results",
            )
        ids = unique_ids([image.name for image in pairs.images])
        images = []
        for image_id, image in zip(ids, pairs.images, strict=True):
            truth = pairs.truth.get(image.name)
            files = (image.name,)
            images.append(
                SourceImage(image_id, files, None if truth is None else tuple(truth), image.subset)
            )
        notes = []
        if pairs.unpaired:
            notes.append(
                f"{self.truth_files.path}: {len(pairs.unpaired)} files of ground truth without "
                f"image were left out, for example {pairs.unpaired[0]}"
            )
        return sorted(images, key=lambda image: image.image_id), notes

    def read_nuclei(
        self, image: SourceImage, height: int, width: int, notes: list[str]
    ) -> list[Crop]:
        """See `Form.read_nuclei`."""
        names = image.truth or ()
        if len(names) > 1:
            raise InputError(
                self.files.location(image.image_files[0]),
                f"{len(names)} files of ground truth: {', '.join(names)}",
                "keep one of them, or put it into another folder and pass --truth FOLDER",
            )
        location, own_notes = self.truth_files.location(names[0]), []
        with self.truth_files.on_disk(names[0]) as path:
            try:
                crops = self._decode(path, names[0], (height, width), own_notes)
            except InputError:
                raise
            except (ValueError, OSError) as error:
                raise InputError(location, str(error).removeprefix(f"{path}: ")) from error
        notes += [f"{location}: {note}" for note in own_notes]
        return crops

    @abstractmethod
    def _decode(self, path: Path, name: str, size: tuple[int, int], notes: list[str]) -> list[Crop]:
        """Reads a file of ground truth.

        Args:
            path: the file on disk.
            name: its name in the input.
            size: height and width of the image, pixels.
            notes: list to which notes for the report are added.

        Raises:
            ValueError, OSError: the file is unusable.
        """


class LabelForm(PairedForm):
    """Label images, as StarDist, BBBC039, Cellpose and CoNSeP have them."""

    name = "labels"
    suffixes = label_files.LABEL_SUFFIXES

    def is_foreground_only(self, image: SourceImage) -> bool:
        """See `Form.is_foreground_only`."""
        return self._values((image.truth or ("",))[0]) == FOREGROUND

    def _values(self, name: str) -> str | None:
        parts = PurePosixPath(name).with_suffix("").parts
        folders = [*self.truth_files.path.parts[-1:], *parts[:-1]]
        is_foreground = FOREGROUND in [folder.lower() for folder in folders]
        is_foreground = is_foreground or (parts and parts[-1].lower().endswith(f"_{FOREGROUND}"))
        return self.options.label_values or (FOREGROUND if is_foreground else None)

    def _decode(self, path: Path, name: str, size: tuple[int, int], notes: list[str]) -> list[Crop]:
        return label_files.split_labels(
            label_files.read_label_pixels(path, size), self._values(name)
        )


class RoiForm(PairedForm):
    """ImageJ ROIs, one `.zip` or `.roi` for each image."""

    name = "rois"
    suffixes = (".zip", ".roi")

    def _decode(self, path: Path, name: str, size: tuple[int, int], notes: list[str]) -> list[Crop]:
        return outline_files.fill_areas(outline_files.read_rois(path, notes), *size, notes)


class GeoJsonForm(PairedForm):
    """GeoJSON of QuPath, one file for each image."""

    name = "geojson"
    has_categories = True
    suffixes = (".geojson", ".json")

    def _decode(self, path: Path, name: str, size: tuple[int, int], notes: list[str]) -> list[Crop]:
        areas = outline_files.read_geojson(read_file(path), self.options.categories, notes)
        return outline_files.fill_areas(areas, *size, notes)

    def list_images(self) -> tuple[list[SourceImage], list[str]]:
        """See `Form.list_images`."""
        images, notes = super().list_images()
        if self.options.categories:
            names = {name for image in images for name in image.truth or ()}
            contents = (self.truth_files.read(name) for name in names)
            known = set().union(*map(outline_files.read_class_names, contents))
            if unknown := sorted(set(self.options.categories) - known):
                raise UsageError(
                    f"--category {unknown[0]}: not in the GeoJSON files, expected one of "
                    f"{', '.join(sorted(known)) or '(they have no classes)'}"
                )
        return images, notes
