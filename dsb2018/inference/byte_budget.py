"""Limits the memory of a thread that reads ahead."""

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager


class ByteBudget:
    """A number of bytes that may be in use at once. One item alone may always use more."""

    def __init__(self, limit: int):
        """
        Args:
            limit: bytes.
        """
        self._free, self._used, self._changed = limit, 0, threading.Condition()

    def acquire(self, size: int) -> None:
        """Waits until so many bytes are free, and takes them."""
        with self._changed:
            self._changed.wait_for(lambda: size <= self._free or not self._used)
            self._free, self._used = self._free - size, self._used + size

    @contextmanager
    def released_after(self, size: int) -> Iterator[None]:
        """Frees so many bytes at the end of the block."""
        try:
            yield
        finally:
            with self._changed:
                self._free, self._used = self._free + size, self._used - size
                self._changed.notify_all()

    def close(self) -> None:
        """Lets all waiting threads go on."""
        with self._changed:
            self._free = sys.maxsize
            self._changed.notify_all()
