"""Stopping in good order when the process is asked to: Ctrl-C, and the SIGTERM of a scheduler."""

import logging
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

logger = logging.getLogger(__name__)

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interrupted(BaseException):
    """The training was asked to stop, and has stopped. Not an error, so no `Exception`."""

    def __init__(self, number: int):
        """
        Args:
            number: of the signal.
        """
        super().__init__(f"stopped by {signal.Signals(number).name}")
        self.exit_status = 128 + number  # as shells have it


class StopSignal:
    """Remembers that SIGINT or SIGTERM came, so that an iteration can be finished first."""

    def __init__(self):
        self.received: int | None = None  # number of the signal
        self._at_once = False

    @contextmanager
    def watched(self) -> Iterator[None]:
        """In this context the signals are remembered and do nothing else. Outside of the main
        thread, where Python has no signals, they keep their effect."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {number: signal.signal(number, self._receive) for number in SIGNALS}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    @contextmanager
    def at_once(self) -> Iterator[None]:
        """In this context, for long work that may be broken off, a signal raises `Interrupted`."""
        self._at_once = True
        try:
            if self.received is not None:
                raise Interrupted(self.received)
            yield
        finally:
            self._at_once = False

    def _receive(self, number: int, frame) -> None:
        if self.received is not None:
            return  # launchers repeat what the terminal has already sent to all processes
        self.received = number
        name = signal.Signals(number).name
        logger.warning("%s: a checkpoint is written after this iteration, then it stops", name)
        if self._at_once:
            raise Interrupted(number)
