"""Files: written whole or not at all, read only where they are regular files of a sane size, and
folders that are deleted only where this project made them."""

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

LARGEST_FILE = 2**31  # bytes of a file that is read into memory at once
MARK = ".dsb2018"  # a file in each folder that this project may empty or delete
KINDS = {
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a named pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


def check_regular_file(path: str | os.PathLike) -> None:
    """Raises an error where reading the path could wait forever or never end.

    Raises:
        OSError: no such file, or it cannot be reached.
        ValueError: a folder, named pipe, socket or device.
    """
    _check_mode(path, os.stat(path).st_mode)


def _check_mode(path: str | os.PathLike, mode: int) -> None:
    if not stat.S_ISREG(mode):
        kind = KINDS.get(stat.S_IFMT(mode), "something else")
        raise ValueError(f"{path}: {kind}, expected a regular file")


def read_file(path: str | os.PathLike, limit: int = LARGEST_FILE) -> bytes:
    """Reads a regular file into memory.

    Args:
        path: of the file.
        limit: the largest size that is read, bytes.

    Raises:
        OSError: no such file, or it cannot be read.
        ValueError: not a regular file, or larger than the limit.
    """
    # A named pipe would block here, were it not for the flag.
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
    """The SHA-256 of a file, hexadecimal."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def check_regular_tree(folder: Path) -> None:
    """Raises an error where a folder holds something else than regular files and folders.

    Raises:
        ValueError: it does; the message names it.
    """
    for root, _, names in os.walk(folder):
        for name in names:
            path = os.path.join(root, name)
            if not os.path.isfile(path):
                raise ValueError(f"{path}: no regular file, so the folder is not read")


def read_json(path: str | os.PathLike) -> object:
    """The content of a JSON file.

    Raises:
        OSError: no such file, or it cannot be read.
        ValueError: not a regular file, or not JSON.
    """
    try:
        return json.loads(read_file(path))
    except (ValueError, RecursionError) as error:
        reason = str(error).removeprefix(f"{path}: ")
        raise ValueError(f"{path}: not a JSON file ({reason})") from error


@contextmanager
def replacing(path: str | os.PathLike) -> Iterator[BinaryIO]:
    """A file to write to under another name beside its place; at the end it is moved there.

    A killed process or a full disk leaves the old file, if any, as it was.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    os.close(handle)
    try:
        with open(temporary, "wb") as file:  # which knows its name; some libraries want it
            yield file
            file.flush()
            os.fsync(file.fileno())  # else a power cut could leave the name without its content
        os.chmod(temporary, 0o666 & ~_umask())
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def write_atomically(path: str | os.PathLike, data: bytes | str) -> None:
    """Writes a file whole or not at all, see `replacing`."""
    with replacing(path) as file:
        file.write(data.encode() if isinstance(data, str) else data)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


@contextmanager
def staging_folder(root: Path) -> Iterator[Path]:
    """A folder in root for what is not complete yet; deleted at the end, also after an error.

    A killed process leaves its folder behind; the next call deletes it.
    """
    root.mkdir(parents=True, exist_ok=True)
    for left_over in root.glob(".partial-*"):
        process = re.fullmatch(r"\.partial-(\d{1,9})-\w+", left_over.name)
        is_ours = process and (left_over / MARK).is_file() and not left_over.is_symlink()
        if is_ours and not is_other_process(int(process[1])):
            shutil.rmtree(left_over, ignore_errors=True)
    folder = Path(tempfile.mkdtemp(prefix=f".partial-{os.getpid()}-", dir=root))
    (folder / MARK).touch()
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def is_other_process(pid: int) -> bool:
    """Whether another process of this machine has this number."""
    if pid == os.getpid():  # in containers, processes get the same numbers again
        return False
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True
    return True


def make_empty_folder(folder: Path) -> None:
    """Makes a folder that is empty but for a mark; one that an earlier run made is emptied.

    Raises:
        ValueError: the folder exists, and this project did not make it.
    """
    delete_folder(folder)
    folder.mkdir(parents=True)
    (folder / MARK).touch()


def delete_folder(folder: Path) -> None:
    """Deletes a folder that `make_empty_folder` made, or an empty one, if it exists.

    Raises:
        ValueError: this project did not make the folder.
    """
    if not folder.exists() and not folder.is_symlink():
        return
    is_ours = folder.is_dir() and not folder.is_symlink()
    if not is_ours or (any(folder.iterdir()) and not (folder / MARK).is_file()):
        raise ValueError(
            f"{folder}: not deleted, because dsb2018 did not create it (it has no file {MARK}); "
            "move it elsewhere or choose another output folder"
        )
    shutil.rmtree(folder)
