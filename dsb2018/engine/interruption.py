"""Stopping in good order when the process is asked to: Ctrl-C, and the SIGTERM of a scheduler."""

import logging
import signal
import threading
from collections.abc import Callable, Iterator
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
        self._call: Callable[[int], None] | None = None

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
    def calling(self, function: Callable[[int], None]) -> Iterator[None]:
        """In this context, for long work, a signal calls the function at once, with its number;
        one that came before does so now."""
        self._call = function
        try:
            if self.received is not None:
                function(self.received)
            yield
        finally:
            self._call = None

    def _receive(self, number: int, frame) -> None:
        if self.received is not None:
            return  # launchers repeat what the terminal has already sent to all processes
        self.received = number
        name = signal.Signals(number).name
        logger.warning("%s: a checkpoint is written after this iteration, then it stops", name)
        if self._call:
            self._call(number)
