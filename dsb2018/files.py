"""Files that are written whole or not at all."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO


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
    """A folder in root for what is not complete yet; gone at the end, also after an error.

    A killed process leaves its folder behind; the next call removes it.
    """
    root.mkdir(parents=True, exist_ok=True)
    for left_over in root.glob(".partial-*"):
        if not _is_another_running(int(left_over.name.split("-")[1])):
            shutil.rmtree(left_over, ignore_errors=True)
    folder = root / f".partial-{os.getpid()}"
    folder.mkdir()
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _is_another_running(pid: int) -> bool:
    if pid == os.getpid():  # in containers, processes get the same numbers again
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
