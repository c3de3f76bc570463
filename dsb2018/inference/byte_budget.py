"""A limit for the memory of the prefetch."""

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager


class ByteBudget:
    """A limit on the bytes that are in use at the same time. A single item may exceed the limit."""

    def __init__(self, limit: int):
        """
        Args:
            limit: maximum number of bytes.
        """
        self._free, self._used, self._changed = limit, 0, threading.Condition()

    def acquire(self, size: int) -> None:
        """Waits until `size` bytes are free, and reserves them."""
        with self._changed:
            self._changed.wait_for(lambda: size <= self._free or not self._used)
            self._free, self._used = self._free - size, self._used + size

    @contextmanager
    def released_after(self, size: int) -> Iterator[None]:
        """Releases `size` bytes at the end of the `with` block."""
        try:
            yield
        finally:
            with self._changed:
                self._free, self._used = self._free + size, self._used - size
                self._changed.notify_all()

    def close(self) -> None:
        """Removes the limit, so that all waiting threads continue."""
        with self._changed:
            self._free = sys.maxsize
            self._changed.notify_all()
