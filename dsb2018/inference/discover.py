"""Which files are images, and what their results are called."""

import glob
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from dsb2018.inference.readers import READERS
from dsb2018.inference.readers.ome_zarr import find_in_zarr
from dsb2018.io.names import file_name


def find_images(patterns: Iterable[str]) -> list[tuple[str, Path]]:
    """The image files of files, folders and glob patterns, each with a name for its results.

    A folder gives the images in it; one in the form of the Data Science Bowl (`<id>/images/`) gives
    those, under their ids; an OME-Zarr of a plate gives each field. A name is the file's without
    its ending; where several would be the same, more of the path is kept.

    Raises:
        FileNotFoundError: nothing there, or a folder without an image.
    """
    found: list[Path] = []
    for pattern in patterns:
        if not pattern.strip():
            raise FileNotFoundError("--input is empty, expected files, folders or patterns")
        path = Path(pattern)
        paths = [path] if path.exists() else sorted(map(Path, glob.glob(pattern, recursive=True)))
        if not paths:
            raise FileNotFoundError(f"{pattern}: no such file or folder")
        images = [image for each in paths for image in _images_at(each)]
        if not images:
            endings = " ".join((*READERS, ".zarr"))
            raise FileNotFoundError(
                f"{pattern}: no image in it; images end in {endings}, and those of folders in it "
                f'are found by a pattern, as "{pattern}/**/*.png"'
            )
        found += images
    return _name(list(dict.fromkeys(found)))


def _images_at(path: Path) -> list[Path]:
    if not path.is_dir():
        return [path]
    if is_zarr(path):
        return find_in_zarr(path)
    here = [each for each in sorted(path.iterdir()) if _is_image(each)]
    if not here:
        pattern = "images/*" if (path / "images").is_dir() else "*/images/*"
        here = [each for each in sorted(path.glob(pattern)) if _is_image(each)]
    return [image for each in here for image in (find_in_zarr(each) if each.is_dir() else [each])]


def _is_image(path: Path) -> bool:
    if path.name.startswith("."):
        return False
    return is_zarr(path) if path.is_dir() else path.suffix.lower() in READERS


def is_zarr(path: Path) -> bool:
    """Whether a folder is a Zarr store."""
    marks = (".zgroup", ".zarray", "zarr.json")
    return path.suffix == ".zarr" or any((path / mark).exists() for mark in marks)


def _stem(path: Path) -> str:
    store = next((each for each in path.parents if each.suffix == ".zarr"), None)
    if store:  # one of the images in it
        return "_".join([_stem(store), *path.relative_to(store).parts])
    name = path.name
    for ending in (".ome.zarr", ".ome.tif", ".ome.tiff"):
        if name.lower().endswith(ending):
            return name[: -len(ending)]
    return path.stem


def _name(found: list[Path]) -> list[tuple[str, Path]]:
    """Names that differ: the stem; else the whole file name; else more and more of the path; else
    with a number."""
    names = {path: file_name(_stem(path)) for path in found}
    for depth in range(1, 1 + max(len(path.parts) for path in found)):
        often = Counter(names.values())
        twice = [path for path, name in names.items() if often[name] > 1]
        parts = {path: [each for each in path.parts if each != path.anchor] for path in twice}
        longer = {path: file_name("_".join(each[-depth:])) for path, each in parts.items()}
        names.update(longer)
    seen: Counter[str] = Counter()
    for path, name in names.items():
        seen[name] += 1
        names[path] = name if seen[name] == 1 else f"{name}_{seen[name]}"
    return [(name, path) for path, name in names.items()]
