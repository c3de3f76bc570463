"""The form of the Data Science Bowl: one folder for each image, one mask file for each nucleus.

<image id>/images/<image>.png
<image id>/masks/*.png
"""

from collections import defaultdict
from collections.abc import Iterable
from pathlib import PurePosixPath

from dsb2018.errors import InputError
from dsb2018.prepare.forms.form import SUBSETS, Form, SourceImage
from dsb2018.prepare.png_files import EmptyMaskError, read_mask
from dsb2018.structures.masks import Crop

LAYOUT = "expected <image id>/images/<image>.png and <image id>/masks/*.png"


class DsbForm(Form):
    """See the module."""

    name = "dsb"

    def recognizes(self) -> bool:
        """Whether at least half of the folders `images` contain exactly one PNG file.

        A folder `images` that is not in the folder of an image, but in the input itself or in
        `train`, `val` or `test`, has another form.
        """
        if self.files is not self.truth_files or self.options.json_file:
            return False
        counts: dict[str, int] = {}
        for name in self.files.names:
            path = PurePosixPath(name)
            if path.parent.name == "images" and _is_png(name):
                counts[str(path.parent.parent)] = counts.get(str(path.parent.parent), 0) + 1
        counts = {k: n for k, n in counts.items() if k != "." and k.lower() not in SUBSETS}
        if self._has_masks_named_as_images(counts):  # one mask or label image for each image
            return False
        return bool(counts) and sum(n == 1 for n in counts.values()) >= len(counts) / 2

    def _has_masks_named_as_images(self, folders: Iterable[str]) -> bool:
        """Whether each folder of masks has one file only, with the name of the image."""
        files: dict[tuple[str, str], list[str]] = defaultdict(list)
        for name in self.files.names:
            path = PurePosixPath(name)
            files[str(path.parent.parent), path.parent.name].append(path.name)
        masks = {folder: files[folder, "masks"] for folder in folders if files[folder, "masks"]}
        return bool(masks) and all(masks[f] == files[f, "images"] for f in masks)

    def explain_files(self, image: SourceImage) -> tuple[str, str, str]:
        """See `Form.explain_files`."""
        problem = "the folder `images` is missing or has no PNG file"
        if image.image_files:
            problem = f"{len(image.image_files)} image files: {', '.join(image.image_files)}"
        path = f"{self.files.path}/{image.image_id}"
        return path, problem, "expected exactly one image file"

    def list_images(self) -> tuple[list[SourceImage], list[str]]:
        """Returns all images, sorted by id.

        Raises:
            InputError: an image id is in two folders, or there are no images.
        """
        files: dict[str, dict[str, list[str]]] = {}  # image id → subfolder → names
        parent_folders: dict[str, str] = {}  # by image id
        for name in self.files.names:
            parts = PurePosixPath(name).parts
            if name.endswith("/") and not _is_png(name):
                self._add_folder(parts, files, parent_folders)
            elif len(parts) > 2 and parts[-2] in ("images", "masks") and _is_png(name):
                files.setdefault(parts[-3], {}).setdefault(parts[-2], []).append(name.rstrip("/"))
        if not any(folders.get("images") for folders in files.values()):
            raise InputError(self.files.path, "no DSB images in it", LAYOUT)
        images, parents = [], {parent.split("/")[0] for parent in parent_folders.values()}
        for image_id in sorted(files.keys() - parents):
            masks = files[image_id].get("masks")
            truth = None if masks is None else tuple(sorted(masks))
            image_files = tuple(sorted(files[image_id].get("images", ())))
            images.append(SourceImage(image_id, image_files, truth))
        return images, []

    def _add_folder(self, parts: tuple[str, ...], files: dict, parent_folders: dict) -> None:
        """Adds the folder of an image, or its subfolder, which may be empty."""
        if len(parts) == 1 and not self.files.is_archive:
            files.setdefault(parts[0], {})
        if len(parts) < 2 or parts[-1] not in ("images", "masks"):
            return
        *parents, image_id, subfolder = parts
        parent = "/".join(parents)
        if parent_folders.setdefault(image_id, parent) != parent:
            raise InputError(
                self.files.path,
                f"image id {image_id} is in two folders, {parent_folders[image_id]!r} and "
                f"{parent!r}",
                "expected one set of images",
            )
        files.setdefault(image_id, {}).setdefault(subfolder, [])

    def read_nuclei(
        self, image: SourceImage, height: int, width: int, notes: list[str]
    ) -> list[Crop]:
        """See `Form.read_nuclei`."""
        crops = []
        for name in image.truth or ():
            path = self.files.location(name)
            try:
                crops.append(read_mask(self.files.read(name), path, height, width))
            except EmptyMaskError as error:
                if not self.options.skip_bad:
                    raise
                notes.append(f"mask skipped: {error}")
        return crops


def _is_png(name: str) -> bool:
    return name.rstrip("/").lower().endswith(".png")
