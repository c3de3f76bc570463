"""Locks output folders, so that only one process at a time uses them."""

import json
import os
import socket
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from dsb2018.errors import UsageError
from dsb2018.io.files import read_json

try:
    import fcntl
except ImportError:  # Windows: folders are not locked there
    fcntl = None  # type: ignore[assignment]

LOCK_FILE = ".lock"


@contextmanager
def lock_folder(folder: Path, task: str, setting: str) -> Iterator[None]:
    """Locks a folder inside of the context. Other processes that try to lock it get an error.

    The operating system releases the lock when the process ends, even if it is killed. The lock
    file contains the process id, which the error message of other processes shows.

    Args:
        folder: folder to lock. It is created if it does not exist.
        task: task of this process, for example "training".
        setting: option or config key that names the folder, for the message.

    Raises:
        UsageError: another process has locked the folder, or the path is not a folder.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError) as error:
        raise UsageError(f"{setting} {folder}: not a folder") from error
    with _open_lock(folder / LOCK_FILE) as file:
        try:
            if fcntl:
                # Unlike with `flock`, child processes, which may live longer, do not inherit it.
                fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            owner = _owner(folder / LOCK_FILE)
            raise UsageError(
                f"{folder}: {owner} is using this folder; wait until it has ended, or choose "
                f"another {setting}"
            ) from error
        file.truncate(0)
        json.dump({"pid": os.getpid(), "host": socket.gethostname(), "task": task}, file)
        file.flush()
        try:
            yield
        finally:
            file.truncate(0)


def _open_lock(path: Path) -> TextIO:
    """Opens the lock file without following a link or blocking on a named pipe."""
    flags = (getattr(os, name, 0) for name in ("O_NOFOLLOW", "O_NONBLOCK", "O_CLOEXEC"))
    try:
        handle = os.open(path, os.O_RDWR | os.O_CREAT | sum(flags), 0o666)
    except OSError as error:
        raise ValueError(f"{path}: cannot be opened as a lock file ({error.strerror})") from error
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise ValueError(f"{path}: not a regular file, so it cannot be used as a lock file")
    return open(handle, "r+", encoding="utf-8")


def _owner(path: Path) -> str:
    try:
        owner = dict(read_json(path))  # type: ignore[call-overload]
        return f"another {owner['task']} (process {owner['pid']} on {owner['host']})"
    except (OSError, ValueError, KeyError, TypeError):  # it has not written the file yet
        return "another process"
