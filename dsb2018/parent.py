"""Worker processes that end with the process that started them, however it ends."""

import os
import threading
from multiprocessing import parent_process


def end_with_parent() -> None:
    """Called in a worker process: a parent that is killed cannot tell its workers."""
    threading.Thread(target=_wait, daemon=True).start()


def _wait() -> None:
    parent_process().join()
    os._exit(1)
