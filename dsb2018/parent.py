"""Termination of worker processes when their parent process ends."""

import os
import threading
from multiprocessing import parent_process


def end_with_parent() -> None:
    """Makes this worker process exit when its parent ends, even if the parent is killed."""
    threading.Thread(target=_exit_after_parent, daemon=True).start()


def _exit_after_parent() -> None:
    parent_process().join()
    os._exit(1)
