"""Handling of SIGINT (Ctrl-C) and SIGTERM (job schedulers) during a training."""

import logging
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

logger = logging.getLogger(__name__)

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interrupted(BaseException):
    """Raised when a training has stopped because of a signal.

    Stopping is not an error, so this is not an `Exception`.
    """

    def __init__(self, number: int):
        """
        Args:
            number: number of the signal.
        """
        super().__init__(f"stopped by {signal.Signals(number).name}")
        self.exit_status = 128 + number  # the convention of shells


class StopSignal:
    """Records SIGINT and SIGTERM, so that the current iteration can finish first."""

    def __init__(self):
        self.received: int | None = None  # number of the signal
        self._call: Callable[[int], None] | None = None

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Context in which the signals are recorded and have no other effect.

        Python handles signals in the main thread only. In other threads this does nothing.
        """
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        handlers = {number: signal.signal(number, self._receive) for number in SIGNALS}
        try:
            yield
        finally:
            for number, handler in handlers.items():
                signal.signal(number, handler)

    @contextmanager
    def calling(self, function: Callable[[int], None]) -> Iterator[None]:
        """Context in which a signal calls `function` at once, for work that takes long.

        If a signal was received before, `function` is called on entry.

        Args:
            function: gets the number of the signal.
        """
        self._call = function
        try:
            if self.received is not None:
                function(self.received)
            yield
        finally:
            self._call = None

    def _receive(self, number: int, frame) -> None:
        if self.received is not None:
            return  # a launcher forwards a signal that the terminal has already sent
        self.received = number
        name = signal.Signals(number).name
        logger.warning("%s: the training stops after this iteration and saves a checkpoint", name)
        if self._call:
            self._call(number)
