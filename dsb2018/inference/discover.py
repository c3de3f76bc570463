"""Finds image files, and names their results."""

import glob
import logging
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from dsb2018.images import READERS
from dsb2018.images.ome_zarr import find_in_zarr
from dsb2018.images.remote import is_url, open_url
from dsb2018.io.names import file_name, printable
from dsb2018.io.results import is_results
from dsb2018.prepare.forms.pairing import TRUTH_ENDING

logger = logging.getLogger(__name__)

# Folders of pictures and label images in a folder of results.
OF_RESULTS = {"labels", "overlays", "cellpose", "zarr", "crops", "dsb"}


def find_images(patterns: Iterable[str], recursive: bool = False) -> list[tuple[str, Path]]:
    """Finds the image files of files, folders and glob patterns.

    Of a folder, these are the images in it, or in the folders of the Data Science Bowl's format
    (`<id>/images/`). Of a plate in OME-Zarr, they are all fields.

    Args:
        patterns: files, folders, patterns, and URLs of OME-Zarr.
        recursive: whether the subfolders of folders are searched too, except the results of an
            earlier run.

    Returns:
        (name of the results, path) of each image file. The name is the file name without extension.
        If several names would be equal, they contain more of the path.

    Raises:
        FileNotFoundError: a file or folder does not exist, or contains no image.
        ImportError, UsageError: see `open_url`.
    """
    image_paths: list[Path] = []
    for pattern in patterns:
        if not pattern.strip():
            raise FileNotFoundError("--input is empty, expected files, folders or patterns")
        if is_url(pattern):
            image_paths += find_in_zarr(open_url(pattern))
            continue
        path = Path(pattern)
        paths = [path] if path.exists() else _matches(pattern)
        if not paths:
            raise FileNotFoundError(f"{pattern}: no such file or folder")
        new_paths = [image_path for path in paths for image_path in _find_at(path, recursive)]
        if not new_paths:
            extensions = " ".join((*READERS, ".zarr"))
            raise FileNotFoundError(
                f"{pattern}: no images found, expected files with the extensions "
                f"{extensions}; --recursive also searches the subfolders"
            )
        image_paths += new_paths
    if masks := _masks_among(image_paths):
        logger.warning(
            "%d of the files seem to be masks or labels of others, such as %s; to leave them out, "
            "move them to another folder, or name the images by a pattern",
            len(masks),
            printable(masks[0]),
        )
    return _unique_names(list(dict.fromkeys(image_paths)))


def _masks_among(paths: Iterable[Path]) -> list[Path]:
    """Returns the files that are named like masks of other files, such as `a_masks.png`."""
    stems = {(path.parent, path.stem) for path in paths}
    return [
        path
        for path in paths
        if (name := TRUTH_ENDING.sub("", path.stem)) != path.stem and (path.parent, name) in stems
    ]


def _matches(pattern: str) -> list[Path]:
    """Returns the files and folders that match a pattern. `**` does not match results."""
    paths = sorted(map(Path, glob.glob(pattern, recursive=True)))
    if "**" not in pattern:
        return paths
    return [path for path in paths if not any(map(_has_results, (path, *path.parents)))]


def _has_results(folder: Path) -> bool:
    """Returns whether a folder is a part of the results of an earlier run."""
    return folder.name in OF_RESULTS and is_results(folder.parent)


def _find_at(path: Path, recursive: bool) -> list[Path]:
    """Returns the image files of a file or folder."""
    if not path.is_dir():
        return [path]
    if is_zarr(path):
        return find_in_zarr(path)
    return [
        image_path
        for image in _images_in(path, recursive)
        for image_path in (find_in_zarr(image) if image.is_dir() else [image])
    ]


def _images_in(folder: Path, recursive: bool) -> list[Path]:
    """Returns the image files and Zarr folders in a folder."""
    entries = [entry for entry in sorted(folder.iterdir()) if not entry.name.startswith(".")]
    images = [entry for entry in entries if _is_image(entry)]
    if recursive:
        subfolders = [
            entry
            for entry in entries
            if entry.is_dir() and not _is_image(entry) and not _has_results(entry)
        ]
        return images + [image for entry in subfolders for image in _images_in(entry, recursive)]
    if images:
        return images
    pattern = "images/*" if (folder / "images").is_dir() else "*/images/*"
    return [entry for entry in sorted(folder.glob(pattern)) if _is_image(entry)]


def _is_image(path: Path) -> bool:
    if path.name.startswith("."):
        return False
    return is_zarr(path) if path.is_dir() else path.suffix.lower() in READERS


def is_zarr(path: Path) -> bool:
    """Returns whether a folder is a Zarr store."""
    metadata_files = (".zgroup", ".zarray", "zarr.json")
    return path.suffix == ".zarr" or any((path / name).exists() for name in metadata_files)


def _stem(path: Path) -> str:
    """Returns the name of an image file without extension."""
    store = next((parent for parent in path.parents if parent.suffix == ".zarr"), None)
    if store:  # an image of a plate or series
        return "_".join([_stem(store), *path.relative_to(store).parts])
    name = path.name
    for extension in (".ome.zarr", ".ome.tif", ".ome.tiff"):
        if name.lower().endswith(extension):
            return name[: -len(extension)]
    return path.stem


def _unique_names(paths: list[Path]) -> list[tuple[str, Path]]:
    """Returns a unique name for each path, and the path.

    The name is the stem. Equal names are replaced by the whole file name, then by more and more of
    the path; if that does not help, they get a number.
    """
    names = {path: file_name(_stem(path)) for path in paths}
    for depth in range(1, 1 + max(len(path.parts) for path in paths)):
        counts = Counter(names.values())
        duplicates = [path for path, name in names.items() if counts[name] > 1]
        for path in duplicates:
            parts = [part for part in path.parts if part != path.anchor]
            names[path] = file_name("_".join(parts[-depth:]))
    counts = Counter()
    for path, name in names.items():
        counts[name] += 1
        names[path] = name if counts[name] == 1 else f"{name}_{counts[name]}"
    return [(name, path) for path, name in names.items()]
