"""Lists and reads the files of a folder, or of a zip archive without unpacking it."""

import lzma
import os
import struct
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path, PurePosixPath

from dsb2018.errors import InputError
from dsb2018.io.files import check_regular_file, read_file

MAX_BYTES = 1 << 28  # limit for one file; the largest of DSB2018 has 2 MB
MAX_ENTRIES, MAX_DEPTH = 3_000_000, 8  # of a folder
UNPACKING_ERRORS = (
    *(zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, OSError, RuntimeError, ValueError),
    *(NotImplementedError, MemoryError, struct.error),
)


class FolderFiles:
    """The files of a folder.

    Args:
        path: the folder.
        without: a folder that is left out with all its files; None: none.
    """

    is_archive = False

    def __init__(self, path: Path, without: Path | None = None):
        self.path, self._without = path, without
        self._left_out = _identity(without) if without and without.is_dir() else None

    def __reduce__(self):
        """Pickles only the paths, without the names."""
        return FolderFiles, (self.path, self._without)

    @cached_property
    def names(self) -> list[str]:
        """The names of all files and folders, sorted.

        Names are relative to the folder and have forward slashes; those of folders end with one.
        Hidden files and folders are left out. Links are followed, and broken links are listed.

        Raises:
            InputError: the folder cannot be read, or has too many entries.
        """
        names: list[str] = []
        self._list("", names, frozenset())
        return sorted(names)

    def _list(self, folder: str, names: list[str], ancestors: frozenset) -> None:
        """Adds the entries of a folder and of its subfolders."""
        try:
            entries = list(os.scandir(self.path / folder))
        except OSError as error:
            if folder:  # reported when its files are missing
                return
            raise InputError(self.path, error.strerror or "cannot be read") from error
        for entry in entries:
            if entry.name.startswith((".", "__MACOSX")):
                continue
            name = f"{folder}{entry.name}"
            identity = _folder_identity(entry)
            if identity and identity == self._left_out:
                continue
            names.append(name if identity is None else f"{name}/")
            if len(names) > MAX_ENTRIES:
                raise InputError(self.path, f"more than {MAX_ENTRIES} files", "pass a subfolder")
            if identity is None or identity == () or identity in ancestors:  # a file or a loop
                continue
            if name.count("/") >= MAX_DEPTH:
                problem = f"folders in more than {MAX_DEPTH} levels, such as {name}"
                raise InputError(self.path, problem, "pass a subfolder")
            self._list(f"{name}/", names, ancestors | {identity})

    def location(self, name: str) -> str:
        """Returns the path of a file, for messages."""
        return f"{self.path}/{name}"  # a str, because `Path` is slow: 29,000 files are read

    def read(self, name: str) -> bytes:
        """Reads one file.

        Raises:
            InputError: the file cannot be read, is too large or is not a regular file.
        """
        path = self.location(name)
        try:
            return read_file(path, MAX_BYTES)
        except OSError as error:
            raise InputError(path, error.strerror or "cannot be read") from error
        except ValueError as error:
            raise InputError(path, str(error).removeprefix(f"{path}: ")) from error

    @contextmanager
    def on_disk(self, name: str) -> Iterator[Path]:
        """Context with the path of a file, for libraries that read from disk."""
        yield self.path / name


class ZipFiles:
    """The files of a zip archive.

    Args:
        path: the archive.

    Raises:
        InputError: the file is not a readable zip archive.
    """

    is_archive = True

    def __init__(self, path: Path):
        self.path = path
        try:
            check_regular_file(path)
            self._zip = zipfile.ZipFile(path)
        except (zipfile.BadZipFile, ValueError, NotImplementedError) as error:
            problem = f"not a readable zip archive: {error}"
            raise InputError(path, problem, "copy or download the archive again") from error

    def __reduce__(self):
        """Pickles the path: an open file cannot be pickled, so a copy opens the archive anew."""
        return ZipFiles, (self.path,)

    @cached_property
    def names(self) -> list[str]:
        """The names of all files and folders, see `FolderFiles.names`.

        Raises:
            InputError: the archive contains an unsafe path, or a file twice.
        """
        names: set[str] = set()
        for name in self._zip.namelist():
            self._check_name(name)
            parts = PurePosixPath(name).parts
            if not parts or any(part.startswith((".", "__MACOSX")) for part in parts):
                continue
            if name in names:
                raise InputError(self.path, f"the file {name} is in the archive twice")
            names.add(name)
            names.update(f"{parent}/" for parent in PurePosixPath(name).parents if parent.name)
        return sorted(names)

    def _check_name(self, name: str) -> None:
        parts = name.replace("\\", "/").split("/")
        if name.startswith(("/", "\\")) or ".." in parts or ":" in parts[0]:
            raise InputError(
                self.path, f"unsafe path in the archive: {name!r}", "do not use this file"
            )

    def location(self, name: str) -> str:
        """Returns the path of the archive and of a file in it, for messages."""
        return f"{self.path}:{name}"

    def read(self, name: str) -> bytes:
        """Reads one file.

        Raises:
            InputError: the file is damaged, encrypted, too large, or compressed with a method that
                Python does not support.
        """
        location = self.location(name)
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

    @contextmanager
    def on_disk(self, name: str) -> Iterator[Path]:
        """Context with a temporary copy of a file, see `FolderFiles.on_disk`."""
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / PurePosixPath(name).name
            path.write_bytes(self.read(name))
            yield path


InputFiles = FolderFiles | ZipFiles


def open_files(path: str | os.PathLike, without: Path | None = None) -> InputFiles:
    """Opens a folder or zip archive.

    Args:
        path: the folder or archive.
        without: see `FolderFiles`.

    Raises:
        FileNotFoundError: the path does not exist.
        InputError: the path is a file, but not a zip archive.
    """
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(
            f"{path}: no such file or folder (expected a folder, or a zip archive of it)"
        )
    return FolderFiles(path, without) if path.is_dir() else ZipFiles(path)


def _folder_identity(entry: os.DirEntry) -> tuple | None:
    """Returns a value that is equal for links to the same folder; None for a file, and () for a
    link to itself."""
    try:
        if not entry.is_dir():
            return None
        return _identity(entry)
    except OSError:
        return ()


def _identity(path: Path | os.DirEntry) -> tuple[int, int]:
    status = path.stat()
    return status.st_dev, status.st_ino
