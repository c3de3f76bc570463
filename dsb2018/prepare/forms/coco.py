"""COCO JSON with polygons or RLE, as CVAT, Roboflow, labelme2coco and this project write it.

Images are found by their `file_name` anywhere in the input.
"""

from collections import defaultdict
from pathlib import Path, PurePosixPath
from typing import Any

from dsb2018.errors import InputError, UsageError
from dsb2018.io.coco_file import read_coco
from dsb2018.io.files import read_json
from dsb2018.prepare.forms.form import SUBSETS, Form, SourceImage, find_subset
from dsb2018.prepare.forms.image_ids import unique_ids
from dsb2018.structures.masks import Crop
from dsb2018.structures.outlines import decode_segmentation

MAX_JSON_FILES = 100  # of a folder, that are opened to recognize the form


class CocoForm(Form):
    """See the module."""

    name = "coco"
    has_categories = True

    def recognizes(self) -> bool:
        """Whether the JSON file, or a JSON file in the input, has images and annotations."""
        return bool(self._json_files())

    def _json_files(self) -> list[tuple[Path, PurePosixPath]]:
        """Returns the path of each COCO file, and its name in the input."""
        if self.options.json_file:
            return [(self.options.json_file, PurePosixPath(self.options.json_file.name))]
        files = self.truth_files
        names = [name for name in files.names if name.lower().endswith(".json")]
        found = []
        for name in names[:MAX_JSON_FILES]:
            with files.on_disk(name) as path:
                if _is_coco(path):
                    found.append((Path(files.location(name)), PurePosixPath(name)))
        return found

    def list_images(self) -> tuple[list[SourceImage], list[str]]:
        """See `Form.list_images`."""
        json_files = self._json_files()
        if not json_files:
            raise InputError(
                self.truth_files.path, "no COCO JSON in it", "expected a dict of images, …"
            )
        index = _ImageIndex([name for name in self.files.names if not name.endswith("/")])
        # Size and segmentations, and subset, of each image, by its missing file and its files.
        rows: dict[tuple[str, tuple[str, ...]], tuple[list, str]] = {}
        notes: list[str] = []
        for location, name in json_files:
            coco = self._read(location, name)
            annotations, coco_notes = self._annotations(coco, location)
            notes += coco_notes
            subset = find_subset(name.parts) or _subset_of_file(name.stem)
            missing = []
            for image in coco["images"]:
                file_name = str(image.get("file_name", "")).replace("\\", "/")
                image_files = index.find(file_name, near=name.parent)
                missing += [] if image_files else [file_name]
                size = [image["height"], image["width"]]
                truth, _ = rows.setdefault(
                    ("" if image_files else file_name, image_files), ([*size], subset)
                )
                if truth[:2] != size:
                    raise InputError(location, f"{file_name} has other sizes in other JSON files")
                truth += annotations[image["id"]]  # several files may list the same image
            if missing and len(missing) == len(coco["images"]):
                raise InputError(
                    location,
                    f"none of its {len(missing)} images is in {self.files.path}, for example "
                    f"{missing[0]!r}",
                    "pass the folder of the images: --input IMAGES --truth FILE.json",
                )
        ids = unique_ids([files[0] if files else missing for missing, files in rows])
        images = [
            SourceImage(image_id, files, tuple(truth), subset)
            for image_id, ((_, files), (truth, subset)) in zip(ids, rows.items(), strict=True)
        ]
        return sorted(images, key=lambda image: image.image_id), notes

    def _read(self, location: Path, name: PurePosixPath) -> dict:
        try:
            if self.options.json_file:
                return read_coco(location, any_file_name=True)
            with self.truth_files.on_disk(str(name)) as path:
                return read_coco(path, any_file_name=True)
        except ValueError as error:
            reason = str(error).partition(": ")[2] or str(error)
            raise InputError(location, reason) from error

    def _annotations(self, coco: dict, location: Path) -> tuple[dict[int, list], list[str]]:
        """Returns the segmentations of the nuclei by image id, and notes."""
        names = {
            category.get("id"): str(category.get("name", category.get("id")))
            for category in coco["categories"] or ()
            if isinstance(category, dict)
        }
        used = {annotation.get("category_id") for annotation in coco["annotations"]}
        # CVAT marks each mask as a crowd. A file of crowds alone is therefore one of nuclei.
        all_crowds = all(_is_crowd(annotation) for annotation in coco["annotations"])
        used_names = sorted(names.get(category, str(category)) for category in used)
        chosen, notes = set(self.options.categories), []
        if unknown := chosen - {*names.values(), *used_names}:
            raise UsageError(
                f"--category {sorted(unknown)[0]}: not in {location}, expected one of "
                f"{', '.join(used_names)}"
            )
        if not chosen and len(used) > 1:
            notes.append(
                f"{location}: the categories {', '.join(used_names)} are all treated as nuclei; "
                "--category selects some of them"
            )
        segmentations: dict[int, list] = defaultdict(list)
        crowds = 0
        for annotation in coco["annotations"]:
            category = annotation.get("category_id")
            if chosen and names.get(category, str(category)) not in chosen:
                continue
            if _is_crowd(annotation) and not all_crowds:
                crowds += 1
            else:
                segmentations[annotation["image_id"]].append(annotation["segmentation"])
        if crowds:
            notes.append(
                f"{location}: {crowds} annotations with iscrowd 1 (regions of several nuclei, or "
                "masks of CVAT) were left out; set iscrowd to 0 to keep them"
            )
        return segmentations, notes

    def read_nuclei(
        self, image: SourceImage, height: int, width: int, notes: list[str]
    ) -> list[Crop]:
        """See `Form.read_nuclei`."""
        path = self.files.location(image.image_files[0])
        json_height, json_width, *segmentations = image.truth or ()
        if (json_height, json_width) != (height, width):
            raise InputError(
                path,
                f"{height}×{width} pixels, but {json_height}×{json_width} in the COCO JSON",
                "pass the images that were annotated",
            )
        crops, empty = [], 0
        for number, segmentation in enumerate(segmentations, start=1):
            try:
                crop = decode_segmentation(segmentation, height, width)
            except ValueError as error:
                problem = f"annotation {number} of this image is {error}"
                raise InputError(path, problem, "correct or delete it") from error
            if crop is None:
                empty += 1
            else:
                crops.append(crop)
        if empty:
            notes.append(f"{path}: {empty} annotations without pixels were left out")
        return crops


class _ImageIndex:
    """Finds files by the last parts of their path."""

    def __init__(self, names: list[str]):
        self._by_last_part: dict[str, list[str]] = defaultdict(list)
        for name in names:
            self._by_last_part[name.rpartition("/")[2]].append(name)

    def find(self, file_name: str, near: PurePosixPath) -> tuple[str, ...]:
        """Returns the files that fit best: those that share most parts at the end of the path with
        `file_name`, and among them those that share most parts at its beginning with `near`."""
        parts = PurePosixPath(file_name).parts
        candidates = self._by_last_part.get(parts[-1] if parts else "", [])

        def fit(name: str) -> tuple[int, int]:
            own = PurePosixPath(name).parts
            return _common(own[::-1], parts[::-1]), _common(own, near.parts)

        best = max(map(fit, candidates), default=(0, 0))
        return tuple(name for name in candidates if fit(name) == best)


def _common(a: tuple[str, ...], b: tuple[str, ...]) -> int:
    """Returns the number of equal parts at the beginning."""
    pairs = enumerate(zip(a, b, strict=False))
    return next((n for n, (x, y) in pairs if x != y), min(len(a), len(b)))


def _subset_of_file(stem: str) -> str:
    """Returns the subset in a name such as `instances_train2017`."""
    words = "".join(c.lower() if c.isalpha() else " " for c in stem).split()
    return next((SUBSETS[word] for word in words if word in SUBSETS), "")


def _is_crowd(annotation: dict) -> bool:
    return str(annotation.get("iscrowd", 0)) not in ("0", "False")


def _is_coco(path: Path) -> bool:
    try:
        content: Any = read_json(path)
    except (OSError, ValueError):
        return False
    return isinstance(content, dict) and {"images", "annotations"} <= content.keys()
