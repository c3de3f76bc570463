"""The process that measures and writes, while the network looks at the next image."""

from collections import deque
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import replace
from multiprocessing import get_context

import cv2

from dsb2018.inference.pictures import SMALL
from dsb2018.inference.writing import Job, write_image
from dsb2018.parent import end_with_parent

WAITING = 3  # images that wait to be written, at most


class Writer:
    """Measures and writes in a process of its own, which is replaced where it is killed."""

    def __init__(self):
        self._pool = _start()
        self._waiting: deque[Future] = deque()

    def write(self, job: Job) -> Future | dict:
        """The row of `images.csv`, or a future that gives it or raises what went wrong.

        What would be slow to hand over is written here and now.
        """
        if job.picture.nbytes > SMALL:
            return write_image(job)
        job = replace(job, picture=job.picture.loaded(), shown=job.shown.loaded())
        while len(self._waiting) >= WAITING:
            self._waiting.popleft().exception()  # waits; who has the future is told
        try:
            self._waiting.append(self._pool.submit(write_image, job))
        except BrokenProcessPool:  # it was killed, and what it had to write has failed
            self._pool = _start()
            self._waiting.append(self._pool.submit(write_image, job))
        return self._waiting[-1]

    def close(self) -> None:
        """What has not begun is not written any more."""
        self._pool.shutdown(cancel_futures=True)


def _start() -> ProcessPoolExecutor:
    return ProcessPoolExecutor(1, mp_context=get_context("forkserver"), initializer=_begin)


def _begin() -> None:
    cv2.setNumThreads(1)
    end_with_parent()
