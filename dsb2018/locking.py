"""One process at a time in an output folder."""

import json
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from dsb2018.errors import UsageError

try:
    import fcntl
except ImportError:  # Windows: folders are not locked there
    fcntl = None

LOCK_FILE = ".lock"


@contextmanager
def lock_folder(folder: Path, task: str, setting: str) -> Iterator[None]:
    """Holds a folder; another process that wants it meanwhile gets an error.

    The operating system gives the lock up when the process ends, however it ends, so a killed
    process leaves nothing to clean up. The lock file names the process, for the message.

    Args:
        folder: created where it does not exist.
        task: what this process does, as "training".
        setting: the option or key by which the user chooses the folder.

    Raises:
        UsageError: another process holds the folder.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / LOCK_FILE, "a+", encoding="utf-8") as file:
        try:
            if fcntl:
                # Unlike `flock` this is not inherited by child processes, which may live longer.
                fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise UsageError(
                f"{folder}: {_owner(file.name)} is using this folder; wait until it has ended, or "
                f"choose another {setting}"
            ) from error
        file.truncate(0)
        json.dump({"pid": os.getpid(), "host": socket.gethostname(), "task": task}, file)
        file.flush()
        try:
            yield
        finally:
            file.truncate(0)


def _owner(path: str) -> str:
    try:
        owner = json.loads(Path(path).read_text(encoding="utf-8"))
        return f"another {owner['task']} (process {owner['pid']} on {owner['host']})"
    except (OSError, ValueError, KeyError, TypeError):  # it has only just begun
        return "another process"
