"""Reads DSB data from a folder, or from a zip archive of Kaggle or the Broad Institute.

Both contain `<image id>/images/<one image>.png` and, with ground truth, `<image id>/masks/*.png`.
"""

import lzma
import os
import struct
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from dsb2018.errors import InputError
from dsb2018.io.files import check_regular_file, read_file

MAX_BYTES = 1 << 28  # limit for an image or mask file; the largest of DSB2018 has 2 MB
UNPACKING_ERRORS = (
    *(zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, OSError, RuntimeError, ValueError),
    *(NotImplementedError, MemoryError, struct.error),
)
LAYOUT = "expected <image id>/images/<image>.png and <image id>/masks/*.png"


@dataclass(frozen=True)
class SourceImage:
    """The files of one image. Names are relative to the source and have forward slashes.

    Args:
        image_id: name of the image's folder.
        image_files: PNG files in `images`.
        mask_files: PNG files in `masks`; None: there is no such folder.
    """

    image_id: str
    image_files: tuple[str, ...]
    mask_files: tuple[str, ...] | None


class FolderSource:
    """DSB data in a folder."""

    def __init__(self, path: Path):
        self.path = path

    def list_images(self) -> list[SourceImage]:
        """Returns all images, sorted by id.

        Raises:
            InputError: the folder contains no DSB images or cannot be read.
        """
        try:
            folders = sorted(os.scandir(self.path), key=lambda folder: folder.name)
        except OSError as error:
            raise InputError(self.path, error.strerror or "cannot be read", LAYOUT) from error
        images = []
        for folder in folders:
            if _is_folder(folder) and not folder.name.startswith((".", "__")):
                image_files = self._list_files(folder.name, "images") or ()
                mask_files = self._list_files(folder.name, "masks")
                images.append(SourceImage(folder.name, image_files, mask_files))
        if not any(image.image_files for image in images):
            raise InputError(self.path, "no DSB images in it", LAYOUT)
        return images

    def _list_files(self, image_id: str, subfolder: str) -> tuple[str, ...] | None:
        try:
            names = sorted(os.listdir(self.path / image_id / subfolder))
        except OSError:  # missing or unreadable
            return None
        return tuple(f"{image_id}/{subfolder}/{name}" for name in names if _is_png(name))

    def read(self, name: str) -> bytes:
        """Reads one file.

        Raises:
            InputError: the file cannot be read, is too large or is not a regular file.
        """
        path = f"{self.path}/{name}"  # a str, because `Path` is slow: 29,000 files are read
        try:
            return read_file(path, MAX_BYTES)
        except OSError as error:
            raise InputError(path, error.strerror or "cannot be read") from error
        except ValueError as error:
            raise InputError(path, str(error).removeprefix(f"{path}: ")) from error

    def close(self) -> None:
        """Does nothing; a folder has no open files."""


class ZipSource:
    """DSB data in a zip archive, which is read without unpacking it to disk.

    Raises:
        InputError: the file is not a readable zip archive.
    """

    def __init__(self, path: Path):
        self.path = path
        try:
            check_regular_file(path)
            self._zip = zipfile.ZipFile(path)
        except (zipfile.BadZipFile, ValueError, NotImplementedError) as error:
            problem = f"not a readable zip archive: {error}"
            raise InputError(path, problem, "download the archive again") from error

    def __reduce__(self):
        """Pickles the path: an open file cannot be pickled, so a copy opens the archive anew."""
        return ZipSource, (self.path,)

    def list_images(self) -> list[SourceImage]:
        """Returns all images, sorted by id.

        Raises:
            InputError: the archive contains an unsafe path, an image id or file twice, or no DSB
                images.
        """
        files: dict[str, dict[str, list[str]]] = {}  # image id → subfolder → names
        parent_folders: dict[str, str] = {}  # by image id
        names = self._zip.namelist()
        for name in names:
            self._check_name(name)
            parts = PurePosixPath(name).parts
            if len(parts) < 2 or "__MACOSX" in parts or parts[-1].startswith("."):
                continue
            is_folder = name.endswith("/")
            folders = parts if is_folder else parts[:-1]
            if len(folders) < 2:  # for example in an archive of a single image's folder
                continue
            *parents, image_id, subfolder = folders
            if subfolder not in ("images", "masks") or not image_id:
                continue
            parent = "/".join(parents)
            if parent_folders.setdefault(image_id, parent) != parent:
                raise InputError(
                    self.path,
                    f"image id {image_id} is in two folders, {parent_folders[image_id]!r} and "
                    f"{parent!r}",
                    "expected one set of images per archive",
                )
            image_files = files.setdefault(image_id, {}).setdefault(subfolder, [])
            if not is_folder and _is_png(parts[-1]):
                image_files.append(name)
        if not any(subfolders.get("images") for subfolders in files.values()):
            raise InputError(self.path, "no DSB images in it", _layout_hint(names))
        return [self._source_image(image_id, files[image_id]) for image_id in sorted(files)]

    def _source_image(self, image_id: str, subfolders: dict[str, list[str]]) -> SourceImage:
        for names in subfolders.values():
            if len(set(names)) < len(names):
                raise InputError(self.path, f"image id {image_id}: a file is in the archive twice")
        mask_files = subfolders.get("masks")
        return SourceImage(
            image_id,
            tuple(sorted(subfolders.get("images", ()))),
            None if mask_files is None else tuple(sorted(mask_files)),
        )

    def _check_name(self, name: str) -> None:
        parts = name.replace("\\", "/").split("/")
        if name.startswith(("/", "\\")) or ".." in parts or ":" in parts[0]:
            raise InputError(
                self.path, f"unsafe path in the archive: {name!r}", "do not use this file"
            )

    def read(self, name: str) -> bytes:
        """Reads one file.

        Raises:
            InputError: the file is damaged, encrypted, too large, or compressed with a method that
                Python does not support.
        """
        location = f"{self.path}:{name}"
        size = self._zip.getinfo(name).file_size
        if size > MAX_BYTES:
            limit = f"expected at most {MAX_BYTES / 1e6:.0f} MB"
            raise InputError(location, f"{size / 1e6:.0f} MB", limit)
        try:
            with self._zip.open(name) as file:
                return file.read(size)  # the directory of the archive may understate the size
        except UNPACKING_ERRORS as error:
            remedy = "download the archive again, or unpack it and pass the folder"
            raise InputError(location, str(error) or type(error).__name__, remedy) from error

    def close(self) -> None:
        """Closes the archive."""
        self._zip.close()


Source = FolderSource | ZipSource


def open_source(path: str | os.PathLike) -> Source:
    """Opens a DSB folder or zip archive.

    Raises:
        FileNotFoundError: the path does not exist.
        InputError: the path is a file, but not a zip archive.
    """
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(
            f"{path}: no such file or folder ({LAYOUT}, or a zip archive of them)"
        )
    return FolderSource(path) if path.is_dir() else ZipSource(path)


def _layout_hint(names: list[str]) -> str:
    """Returns advice for an archive without DSB images."""
    if any(name.startswith(("images/", "masks/")) for name in names):
        return "the archive was made inside the folder of an image; make it from the parent folder"
    archives = [name for name in names if name.endswith(".zip")]
    if archives:
        return f"it contains archives; unpack it and pass one of {archives}"
    return LAYOUT


def _is_folder(entry: os.DirEntry) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # for example a link to itself
        return True  # later reported as an image that cannot be read


def _is_png(name: str) -> bool:
    return name.lower().endswith(".png") and not name.startswith(".")
