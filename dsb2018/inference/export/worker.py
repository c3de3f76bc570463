"""Measures and exports in another process while the network computes the next image."""

from collections import deque
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import replace
from multiprocessing import get_context

import cv2

from dsb2018.inference.export.base import ExportJob
from dsb2018.inference.export.export import export_image
from dsb2018.inference.microscopy_image import SMALL
from dsb2018.parent import end_with_parent

WAITING = 3  # images that wait to be written, at most


class ExportWorker:
    """A process that measures and exports. If it is killed, another one is started."""

    def __init__(self):
        self._pool = _start()
        self._waiting: deque[Future] = deque()

    def export(self, job: ExportJob) -> Future | dict:
        """The row of `images.csv`, or a future of it, which raises what went wrong.

        An image that would be slow to send to the other process is exported in this one.
        """
        if job.image.nbytes > SMALL:
            return export_image(job)
        job = replace(job, image=job.image.loaded(), channel=job.channel.loaded())
        while len(self._waiting) >= WAITING:
            self._waiting.popleft().exception()  # waits; the error is raised by the future
        try:
            self._waiting.append(self._pool.submit(export_image, job))
        except BrokenProcessPool:  # it was killed, and its jobs have failed
            self._pool = _start()
            self._waiting.append(self._pool.submit(export_image, job))
        return self._waiting[-1]

    def close(self) -> None:
        """Jobs that have not begun are dropped."""
        self._pool.shutdown(cancel_futures=True)


def _start() -> ProcessPoolExecutor:
    return ProcessPoolExecutor(1, mp_context=get_context("forkserver"), initializer=_begin)


def _begin() -> None:
    cv2.setNumThreads(1)
    end_with_parent()
