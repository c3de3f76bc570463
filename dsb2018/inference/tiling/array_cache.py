"""A cache of arrays on disk, so that an interrupted run can be resumed."""

import zipfile
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from dsb2018.io.files import delete_folder, make_empty_folder, replacing, write_atomically

# Errors that NumPy raises for damaged files.
UNREADABLE = (
    *(OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error),
    *(NotImplementedError, RuntimeError, MemoryError, IndexError, TypeError),
)


class ArrayCache:
    """A folder with one file for each group of arrays. Several processes may share it."""

    def __init__(self, folder: Path, fingerprint: str):
        """
        Args:
            folder: created if it does not exist, and emptied if its fingerprint differs.
            fingerprint: hash of everything that the arrays depend on.
        """
        self._folder = folder
        mark = folder / "fingerprint"
        if not mark.is_file() or mark.read_bytes() != fingerprint.encode():
            make_empty_folder(folder)
            write_atomically(mark, fingerprint)

    def keep(self, name: str, compute: Callable[[], Mapping[str, np.ndarray]]) -> None:
        """Stores arrays.

        Args:
            name: of the group of arrays.
            compute: returns them; not called if they are already stored.
        """
        path = self.path(name)
        if not path.exists():
            arrays = compute()
            with replacing(path) as file:
                np.savez(file, **arrays)

    def read(self, name: str, *keys: str) -> dict[str, np.ndarray]:
        """Reads the arrays of a group, or only some of them.

        Raises:
            ValueError: they cannot be read. Their file is deleted, so that the next run computes
                them again.
        """
        path = self.path(name)
        try:
            with np.load(path) as arrays:
                return {key: arrays[key] for key in keys or arrays.files}
        except UNREADABLE as error:
            path.unlink(missing_ok=True)
            raise ValueError(
                f"{path}: damaged ({error}); this file was deleted, run the same command again"
            ) from error

    def path(self, name: str) -> Path:
        """Returns the path of a group of arrays."""
        return self._folder / f"{name}.npz"


def delete_caches(folder: Path) -> None:
    """Deletes a folder and all caches in it, if the folder exists."""
    if folder.is_dir():
        for cache in folder.iterdir():
            delete_folder(cache)
        folder.rmdir()
