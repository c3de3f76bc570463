"""Pairs images with the files of their ground truth, by folders and names.

The ground truth is in a folder such as `labels` or `masks` beside the folder of the images, has a
name such as `<image>_masks`, or is in a folder of its own.
"""

import re
import unicodedata
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from dsb2018.images import READERS
from dsb2018.prepare.forms.form import find_subset
from dsb2018.prepare.forms.image_ids import stem

FOREGROUND = "foreground"
IMAGE_FOLDERS = {"images", "image", "imgs", "img", "raw", "rawimages", "tissue images"}
TRUTH_FOLDERS = {
    *("labels", "label", "masks", "mask", "instances", "segmentations", "segmentation", "gt"),
    *("annotations", "annotation", "groundtruth", "ground_truth", "ground truth", "truth"),
    *("rois", "roi", "geojson", FOREGROUND),
}
IGNORED_FOLDERS = {"overlay", "overlays", "crops"}  # pictures of results
# Files that Cellpose and others write beside their masks.
IGNORED_ENDING = re.compile(r"[_-](flows|outlines|overlay|probabilities|cp_output)$", re.IGNORECASE)
IMAGE_ENDING = re.compile(r"[_-](img|image|raw)$", re.IGNORECASE)
TRUTH_ENDING = re.compile(
    r"[_-](cp_masks|masks?|labels?|label_image|seg|segmentation|instances?|gt|rois?|foreground)$",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class PairedFile:
    """A file of an image or of its ground truth.

    Args:
        name: name in the input.
        folder: parts of its folder without those that tell images from ground truth.
        stem: name of the image without extension and ending.
    """

    name: str
    folder: tuple[str, ...]
    stem: str

    @property
    def subset(self) -> str:
        """See `find_subset`."""
        return find_subset(self.folder)


@dataclass(frozen=True)
class Pairs:
    """Images with their ground truth.

    Args:
        truth: the files of the ground truth by the name of the image file, sorted; usually one.
        images: the images, sorted by name.
        unpaired: files of ground truth that belong to no image.
    """

    truth: dict[str, list[str]]
    images: list[PairedFile]
    unpaired: list[str]


def find_truth_names(names: Sequence[str]) -> set[str]:
    """Returns the names whose folder or ending says that they are ground truth.

    In a folder of images, a name such as `a_mask` is ground truth only if there is an image `a`.
    """
    stems = {(PurePosixPath(name).parent, stem(name)) for name in names}
    found = set()
    for name in names:
        path = PurePosixPath(name)
        folders = [part.lower() for part in path.parts[:-1]]
        kinds = [part for part in folders if part in TRUTH_FOLDERS | IMAGE_FOLDERS]
        has_ending = bool(TRUTH_ENDING.search(stem(name)))
        if kinds and kinds[-1] in IMAGE_FOLDERS:
            has_ending = has_ending and (path.parent, TRUTH_ENDING.sub("", stem(name))) in stems
        if has_ending or (kinds and kinds[-1] in TRUTH_FOLDERS):
            found.add(name)
    return found


def _is_ignored(name: str) -> bool:
    folders = PurePosixPath(name).parts[:-1]
    in_folder = any(part.lower() in IGNORED_FOLDERS for part in folders)
    return in_folder or bool(IGNORED_ENDING.search(stem(name)))


def _has_suffix(name: str, suffixes: Sequence[str]) -> bool:
    return name.lower().endswith(tuple(suffixes))


def select_images(names: Sequence[str], inside_truth: str = "") -> list[PairedFile]:
    """Returns the images of a folder.

    Args:
        names: all files of the folder.
        inside_truth: prefix of the names in a folder of ground truth; "": none.
    """
    images, truth_names = [], find_truth_names(names)
    for name in names:
        is_image = _has_suffix(name, tuple(READERS)) and name not in truth_names
        if (
            is_image
            and not _is_ignored(name)
            and not (inside_truth and name.startswith(inside_truth))
        ):
            images.append(_describe(name, IMAGE_ENDING, IMAGE_FOLDERS))
    return images


def select_truth(
    names: Sequence[str], suffixes: Sequence[str], all_files: bool
) -> list[PairedFile]:
    """Returns the files of ground truth.

    Args:
        names: all files of a folder.
        suffixes: extensions of the ground truth.
        all_files: whether the folder contains only ground truth; otherwise its files are
            distinguished from the images by their folder or ending.
    """
    truth_names = find_truth_names(names)
    return [
        _describe(name, TRUTH_ENDING, TRUTH_FOLDERS)
        for name in names
        if _has_suffix(name, suffixes)
        and not _is_ignored(name)
        and (all_files or name in truth_names or not _has_suffix(name, tuple(READERS)))
    ]


def _describe(name: str, ending: re.Pattern, folders: set[str]) -> PairedFile:
    parts = PurePosixPath(name).parts[:-1]
    folder = tuple(_composed(part.lower()) for part in parts if part.lower() not in folders)
    # The masks of `a_img.tif` may be `a_masks.png` or `a_img_masks.png`.
    return PairedFile(name, folder, _composed(IMAGE_ENDING.sub("", ending.sub("", stem(name)))))


def _composed(text: str) -> str:
    """Returns a name whose accents are parts of their letters. File systems write both forms."""
    return unicodedata.normalize("NFC", text)


def pair(images: Sequence[PairedFile], truth: Sequence[PairedFile]) -> Pairs:
    """Pairs images with ground truth of the same folder and stem, else of the same stem alone.

    Ground truth of several image files with one stem has the whole name of the image file before
    its extension, as `predict.py` writes it.
    """
    by_key: dict[tuple, list[str]] = defaultdict(list)
    for file in truth:
        by_key[file.folder, file.stem].append(file.name)
        by_key[file.stem,].append(file.name)
    stems: dict[str | tuple, int] = defaultdict(int)
    for image in images:
        stems[image.stem] += 1
        stems[image.folder, image.stem] += 1
    found: dict[str, list[str]] = {}
    for image in images:
        last = _composed(PurePosixPath(image.name).name)
        matches = by_key.get((image.folder, last)) or by_key.get((last,))
        if not matches and stems[image.folder, image.stem] == 1:
            matches = by_key.get((image.folder, image.stem))
        if not matches and stems[image.stem] == 1:
            matches = by_key.get((image.stem,))
        if matches:
            # Cellpose's own file is left out where its masks were saved as an image, too.
            images_only = [name for name in matches if not name.endswith("_seg.npy")]
            found[image.name] = sorted(images_only or matches)
    used = {name for names in found.values() for name in names}
    return Pairs(found, list(images), [file.name for file in truth if file.name not in used])
