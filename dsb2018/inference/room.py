"""How far a thread may run ahead of those who use what it makes."""

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager


class Room:
    """How many bytes of read files there may be; for one alone always enough."""

    def __init__(self, limit: int):
        """
        Args:
            limit: bytes.
        """
        self._free, self._taken, self._change = limit, 0, threading.Condition()

    def take(self, size: int) -> None:
        """Waits for room."""
        with self._change:
            self._change.wait_for(lambda: size <= self._free or not self._taken)
            self._free, self._taken = self._free - size, self._taken + size

    @contextmanager
    def left_by(self, size: int) -> Iterator[None]:
        """Makes room at the end of the block."""
        try:
            yield
        finally:
            with self._change:
                self._free, self._taken = self._free + size, self._taken - size
                self._change.notify_all()

    def close(self) -> None:
        """Lets nobody wait any more."""
        with self._change:
            self._free = sys.maxsize
            self._change.notify_all()
