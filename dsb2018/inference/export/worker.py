"""Measures and exports images in another process while the network segments the next image."""

import signal
from collections import deque
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import replace
from multiprocessing import get_all_start_methods, get_context

import cv2

from dsb2018.images.microscopy_image import SMALL
from dsb2018.inference.export.base import ExportJob
from dsb2018.inference.export.run_exporters import export_image
from dsb2018.parent import end_with_parent

MAX_WAITING = 3  # maximum number of images in the queue


class ExportHere:
    """Measures and exports images in this process, for workers of a cluster."""

    def export(self, job: ExportJob) -> dict:
        """Measures and exports an image; returns its row of `images.csv`."""
        return _export_here(job)

    def close(self) -> None:
        """Does nothing."""


class ExportWorker:
    """A process that measures and exports images. It is restarted if it was killed.

    It starts with the second image, because for a single one it would take longer than the export.
    """

    def __init__(self):
        self._pool: ProcessPoolExecutor | None = None
        self._is_first = True
        self._waiting: deque[Future] = deque()

    def export(self, job: ExportJob) -> Future | dict:
        """Measures and exports an image.

        Large images, which would be slow to send to the other process, are exported in this one.

        Returns:
            The image's row of `images.csv`, or a future of it, which raises the errors of the
            export.
        """
        if job.image.nbytes > SMALL:
            return export_image(job)
        if self._is_first:
            self._is_first = False
            return _export_here(job)
        self._pool = self._pool or _start()
        job = replace(job, image=job.image.loaded(), channel=job.channel.loaded())
        while len(self._waiting) >= MAX_WAITING:
            self._waiting.popleft().exception()  # waits; the caller gets the error from the future
        try:
            self._waiting.append(self._pool.submit(export_image, job))
        except BrokenProcessPool:  # the process was killed, and its jobs have failed
            self._pool = _start()
            self._waiting.append(self._pool.submit(export_image, job))
        return self._waiting[-1]

    def close(self) -> None:
        """Stops the process. Jobs that have not started are canceled."""
        if self._pool:
            self._pool.shutdown(cancel_futures=True)


def _export_here(job: ExportJob) -> Future:
    """Exports an image in this process. Errors are raised by the future, as in the other case."""
    future: Future = Future()
    try:
        future.set_result(export_image(job))
    except Exception as error:  # noqa: BLE001 the caller handles it
        future.set_exception(error)
    return future


def _start() -> ProcessPoolExecutor:
    # A copy of this process, "fork", would contain its threads' locks. Windows has "spawn" only.
    method = "forkserver" if "forkserver" in get_all_start_methods() else "spawn"
    return ProcessPoolExecutor(1, mp_context=get_context(method), initializer=_initialize)


def _initialize() -> None:
    cv2.setNumThreads(1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # after Ctrl-C, the parent ends this process
    end_with_parent()
