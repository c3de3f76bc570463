"""Where DSB data come from: a folder, or a zip archive as Kaggle and the Broad Institute ship it.

Both hold `<image id>/images/<one image>.png` and, with truth, `<image id>/masks/*.png`.
"""

import lzma
import os
import struct
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from dsb2018.io.files import check_regular_file, read_file
from dsb2018.prepare.errors import BadInput

MOST_BYTES = 1 << 28  # of an image or mask file; the largest of DSB2018 has 2 MB
UNPACKING_ERRORS = (
    *(zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, OSError, RuntimeError, ValueError),
    *(NotImplementedError, MemoryError, struct.error),
)
FORM = "expected <image id>/images/<image>.png and <image id>/masks/*.png"


@dataclass(frozen=True)
class Entry:
    """One image of a source: names are relative to the source, with forward slashes."""

    image_id: str
    images: tuple[str, ...]
    masks: tuple[str, ...] | None  # None: there is no folder `masks`


class FolderSource:
    """A folder on disk."""

    def __init__(self, path: Path):
        self.path = path

    def entries(self) -> list[Entry]:
        """All images, sorted by id.

        Raises:
            BadInput: nothing in the folder looks like a DSB image.
        """
        entries = []
        try:
            folders = sorted(os.scandir(self.path), key=lambda item: item.name)
        except OSError as error:
            raise BadInput(self.path, error.strerror or "cannot be read", FORM) from error
        for folder in folders:
            if _is_folder(folder) and not folder.name.startswith((".", "__")):
                images = self._list(folder.name, "images")
                masks = self._list(folder.name, "masks")
                entries.append(Entry(folder.name, images or (), masks))
        if not any(entry.images for entry in entries):
            raise BadInput(self.path, "no DSB images in it", FORM)
        return entries

    def _list(self, image_id: str, kind: str) -> tuple[str, ...] | None:
        try:
            names = sorted(os.listdir(self.path / image_id / kind))
        except OSError:  # none, or one that cannot be read
            return None
        return tuple(f"{image_id}/{kind}/{name}" for name in names if _is_png(name))

    def read(self, name: str) -> bytes:
        """The bytes of one file.

        Raises:
            BadInput: a file that the system cannot read, or something else than a file.
        """
        # A plain string: with 29,000 small files `Path` would take a tenth of the whole time.
        path = f"{self.path}/{name}"
        try:
            return read_file(path, MOST_BYTES)
        except OSError as error:
            raise BadInput(path, error.strerror or "cannot be read") from error
        except ValueError as error:
            raise BadInput(path, str(error).removeprefix(f"{path}: ")) from error

    def close(self) -> None:
        """Nothing is held open."""


class ZipSource:
    """A zip archive; read in place, never unpacked as a whole."""

    def __init__(self, path: Path):
        self.path = path
        try:
            check_regular_file(path)
            self._zip = zipfile.ZipFile(path)
        except (zipfile.BadZipFile, ValueError, NotImplementedError) as error:
            found = f"not a readable zip archive: {error}"
            raise BadInput(path, found, "download it again") from error

    def __reduce__(self):
        """An open file cannot be pickled: a copy opens the archive itself."""
        return ZipSource, (self.path,)

    def entries(self) -> list[Entry]:
        """All images, sorted by id.

        Raises:
            BadInput: an entry has an unsafe path, an id is there twice, or nothing looks like a DSB
                image.
        """
        files: dict[str, dict[str, list[str]]] = {}
        tops: dict[str, str] = {}
        names = self._zip.namelist()
        for name in names:
            self._check_name(name)
            parts = PurePosixPath(name).parts
            if len(parts) < 2 or "__MACOSX" in parts or parts[-1].startswith("."):
                continue
            is_folder = name.endswith("/")
            parents = parts if is_folder else parts[:-1]
            if len(parents) < 2:  # as in an archive that was made inside of an image's folder
                continue
            *top, image_id, kind = parents
            if kind not in ("images", "masks") or not image_id:
                continue
            top = "/".join(top)
            if tops.setdefault(image_id, top) != top:
                found = f"image id {image_id} is there twice, below {tops[image_id]!r} and {top!r}"
                raise BadInput(self.path, found, "pack one set of images an archive")
            listed = files.setdefault(image_id, {}).setdefault(kind, [])
            if not is_folder and _is_png(parts[-1]):
                listed.append(name)
        if not any(kinds.get("images") for kinds in files.values()):
            inner = [name for name in names if name.endswith(".zip")]
            hint = f"it holds archives, unpack it and pass one of {inner}" if inner else FORM
            if any(name.startswith(("images/", "masks/")) for name in names):
                hint = "it was made inside the folder of an image; make it of the folder above"
            raise BadInput(self.path, "no DSB images in it", hint)
        return [self._entry(image_id, files[image_id]) for image_id in sorted(files)]

    def _entry(self, image_id: str, kinds: dict[str, list[str]]) -> Entry:
        for names in kinds.values():
            if len(set(names)) < len(names):
                raise BadInput(self.path, f"image id {image_id}: a file is there twice")
        masks = kinds.get("masks")
        return Entry(
            image_id,
            tuple(sorted(kinds.get("images", ()))),
            None if masks is None else tuple(sorted(masks)),
        )

    def _check_name(self, name: str) -> None:
        parts = name.replace("\\", "/").split("/")
        if name.startswith(("/", "\\")) or ".." in parts or ":" in parts[0]:
            raise BadInput(
                self.path, f"unsafe path in the archive: {name!r}", "do not use this file"
            )

    def read(self, name: str) -> bytes:
        """The bytes of one file.

        Raises:
            BadInput: it is damaged, encrypted, too large, or packed in a way that Python cannot
                read.
        """
        where = f"{self.path}:{name}"
        size = self._zip.getinfo(name).file_size  # no more than that is unpacked
        if size > MOST_BYTES:
            most = f"expected at most {MOST_BYTES / 1e6:.0f} MB"
            raise BadInput(where, f"{size / 1e6:.0f} MB", most)
        try:
            with self._zip.open(name) as file:
                return file.read(size)  # whatever it would really unpack to
        except UNPACKING_ERRORS as error:
            remedy = "download the archive again, or unpack it and pass the folder"
            raise BadInput(where, str(error) or type(error).__name__, remedy) from error

    def close(self) -> None:
        """Closes the archive."""
        self._zip.close()


Source = FolderSource | ZipSource


def open_source(path: str | os.PathLike) -> Source:
    """Opens a DSB folder or zip archive.

    Raises:
        FileNotFoundError: there is nothing at the path.
        BadInput: it is a file, but not a zip archive.
    """
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"{path}: no such file or folder ({FORM}, or a .zip of them)")
    return FolderSource(path) if path.is_dir() else ZipSource(path)


def _is_folder(entry: os.DirEntry) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # as of a link to itself
        return True  # it is named as an image that cannot be read


def _is_png(name: str) -> bool:
    return name.lower().endswith(".png") and not name.startswith(".")
