"""Safe access to files and folders.

Files are written completely or not at all. Only regular files of a limited size are read. Only
folders that this project created are deleted.
"""

import hashlib
import json
import os
import re
import shutil
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

LARGEST_FILE = 2**31  # maximum size of a file that is read into memory, bytes
MARK = ".dsb2018"  # name of a file in each folder that this project may empty or delete
KINDS = {
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a named pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


def check_regular_file(path: str | os.PathLike) -> None:
    """Checks that a path is a regular file. Reading anything else could block or never end.

    Raises:
        OSError: the file does not exist or cannot be accessed.
        ValueError: the path is a folder, named pipe, socket or device.
    """
    _check_mode(path, os.stat(path).st_mode)


def _check_mode(path: str | os.PathLike, mode: int) -> None:
    if not stat.S_ISREG(mode):
        kind = KINDS.get(stat.S_IFMT(mode), "something else")
        raise ValueError(f"{path}: {kind}, expected a regular file")


def read_file(path: str | os.PathLike, limit: int = LARGEST_FILE) -> bytes:
    """Reads a regular file into memory.

    Args:
        path: path of the file.
        limit: maximum size of the file, bytes.

    Raises:
        OSError: the file does not exist or cannot be read.
        ValueError: the file is not a regular file, or larger than the limit.
    """
    # Without O_NONBLOCK, opening a named pipe would block.
    handle = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
    with open(handle, "rb", buffering=0) as file:
        status = os.fstat(handle)
        _check_mode(path, status.st_mode)
        if status.st_size > limit:
            raise ValueError(
                f"{path}: {status.st_size / 1e6:.0f} MB, expected at most {limit / 1e6:.0f} MB"
            )
        return file.read()


def sha256(path: str | os.PathLike) -> str:
    """Computes the SHA-256 of a file, hexadecimal."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def check_regular_tree(folder: Path) -> None:
    """Checks that a folder contains only regular files and folders.

    Raises:
        ValueError: the folder contains something else, which the message names.
    """
    for root, _, names in os.walk(folder):
        for name in names:
            path = os.path.join(root, name)
            if not os.path.isfile(path):
                raise ValueError(f"{path}: not a regular file, so the folder is not read")


def read_json(path: str | os.PathLike) -> object:
    """Reads a JSON file.

    Raises:
        OSError: the file does not exist or cannot be read.
        ValueError: the file is not a regular file, or not JSON.
    """
    try:
        return json.loads(read_file(path))
    except (ValueError, RecursionError) as error:
        reason = str(error).removeprefix(f"{path}: ")
        raise ValueError(f"{path}: not a JSON file ({reason})") from error


@contextmanager
def replacing(path: str | os.PathLike) -> Iterator[BinaryIO]:
    """Opens a temporary file in the same folder, and renames it to the path at the end.

    If the process is killed or the disk is full, an old file at the path is not changed.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    os.close(handle)
    try:
        with open(temporary, "wb") as file:  # has an attribute `name`, which some libraries need
            yield file
            file.flush()
            os.fsync(file.fileno())  # otherwise, a power failure could leave an empty file
        os.chmod(temporary, 0o666 & ~_umask())
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def write_atomically(path: str | os.PathLike, data: bytes | str) -> None:
    """Writes a file completely or not at all, see `replacing`."""
    with replacing(path) as file:
        file.write(data.encode() if isinstance(data, str) else data)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


@contextmanager
def staging_folder(root: Path) -> Iterator[Path]:
    """Creates a folder for incomplete files in `root`, and deletes it at the end.

    A killed process does not delete its folder. The next call does.
    """
    root.mkdir(parents=True, exist_ok=True)
    for left_over in root.glob(".partial-*"):
        process = re.fullmatch(r"\.partial-(\d{1,9})-\w+", left_over.name)
        if not process or left_over.is_symlink() or not (left_over / MARK).is_file():
            continue  # not ours
        if not is_other_process(int(process[1])):
            shutil.rmtree(left_over, ignore_errors=True)
    folder = Path(tempfile.mkdtemp(prefix=f".partial-{os.getpid()}-", dir=root))
    (folder / MARK).touch()
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def is_other_process(pid: int) -> bool:
    """Whether another process on this machine has this process id."""
    if pid == os.getpid():  # in containers, process ids are often reused
        return False
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True
    return True


def make_empty_folder(folder: Path, mark: Path | None = None) -> None:
    """Creates an empty folder with a mark, or empties one that an earlier run created.

    Args:
        folder: the folder.
        mark: a file, which is created; None: `MARK` in the folder.

    Raises:
        ValueError: the folder exists, and this project did not create it.
    """
    delete_folder(folder, mark)
    folder.mkdir(parents=True)
    (mark or folder / MARK).touch()


def delete_folder(folder: Path, mark: Path | None = None) -> None:
    """Deletes a folder that `make_empty_folder` created, or an empty one, if it exists.

    Args:
        folder: the folder.
        mark: see `make_empty_folder`.

    Raises:
        ValueError: this project did not create the folder.
    """
    if not folder.exists() and not folder.is_symlink():
        return
    is_ours = folder.is_dir() and not folder.is_symlink()
    if not is_ours or (any(folder.iterdir()) and not (mark or folder / MARK).is_file()):
        raise ValueError(
            f"{folder}: not deleted, because dsb2018 did not create it (there is no file "
            f"{mark or MARK}); move it elsewhere or choose another output folder"
        )
    shutil.rmtree(folder)
