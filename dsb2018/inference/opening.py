"""Files, opened and their grey values spread some time before they are wanted."""

import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import NamedTuple

import numpy as np

from dsb2018.inference.contrast import GreyRange
from dsb2018.inference.pictures import SMALL, Picture, Windows, choose_channel
from dsb2018.inference.readers import open_picture
from dsb2018.inference.room import Room

AHEAD = 3  # files, or images of a file, that are read ahead, at most
MOST_AHEAD = 4 * SMALL  # bytes of files that are read, but for one that has more


class File(NamedTuple):
    """A file to be done.

    Args:
        name: of its results.
        path: where it is.
        made_from: fingerprint of the file as it is now, the model, and what is asked for.
    """

    name: str
    path: Path
    made_from: str


class Opened(NamedTuple):
    """A picture, and the channel of it that the model sees, prepared as far as memory allows.

    Args:
        picture: with all channels.
        chosen: what nuclei are looked for in.
        grey_range: of the chosen one.
        image: (H, W, 3) uint8, where it is small and no stack; else None.
    """

    picture: Picture
    chosen: Picture
    grey_range: GreyRange
    image: np.ndarray | None

    @property
    def nbytes(self) -> int:
        """In memory."""
        own = 0 if self.image is None else self.image.nbytes
        return own + (self.picture.nbytes if self.picture.is_in_memory else 0)


class Opener:
    """Opens files in threads of its own."""

    def __init__(self, predictor, channel: str | None, pixel_size: float | None):
        """
        Args:
            predictor: a `Predictor`.
            channel: see `choose_channel`.
            pixel_size: micrometres, in place of what files say.
        """
        self._predictor, self._channel, self._pixel_size = predictor, channel, pixel_size
        self.room = Room(MOST_AHEAD)
        self._files = ThreadPoolExecutor(1)
        # Its own, since a reader of files may wait for room that only the file in hand can give.
        self._pictures = ThreadPoolExecutor(1)
        self._stopped = threading.Event()

    def files(self, files: Iterable[File]) -> Iterator[tuple[File, Future]]:
        """Files, and futures of their first picture, `Opened`, and the others as they are. Who
        takes one gives its bytes of `room` back."""
        return _ahead(self._files, self._open, files)

    def pictures(self, pictures: Iterable[Picture]) -> Iterator[Opened]:
        """The other pictures of a file."""
        for _, opened in _ahead(self._pictures, self._prepare, pictures):
            yield opened.result()

    def close(self) -> None:
        """Reads no further."""
        self._stopped.set()
        self.room.close()
        for each in (self._files, self._pictures):
            each.shutdown(cancel_futures=True)

    def _open(self, file: File) -> tuple[Opened, list[Picture]]:
        first, *others = open_picture(file.name, file.path)
        opened = self._prepare(first)
        self.room.take(opened.nbytes)
        return opened, others

    def _prepare(self, picture: Picture) -> Opened:
        if self._pixel_size:
            picture = replace(picture, pixel_size=(self._pixel_size,) * 2)
        chosen = choose_channel(picture, self._channel)
        grey_range = self._predictor.grey_range(_Windows(chosen, self._stopped))
        image = None
        if chosen.depth is None and max(chosen.size) <= self._predictor.tiling.whole:
            window = chosen.read(0, 0, *chosen.size)
            image = self._predictor.spread(window, grey_range)
        return Opened(picture, chosen, grey_range, image)


class _Windows:
    """All windows of an image, or of all slices of a stack; may be run through again and again."""

    def __init__(self, picture: Picture, stopped: threading.Event):
        depth = picture.depth
        slices = [picture] if depth is None else [picture.at(Z=z) for z in range(depth)]
        self._windows: list[Windows] = [each.windows() for each in slices]
        self._stopped = stopped

    def __iter__(self) -> Iterator[np.ndarray]:
        for window in chain.from_iterable(self._windows):
            if self._stopped.is_set():  # nobody waits for it any more
                raise InterruptedError
            yield window


def _ahead(
    reader: ThreadPoolExecutor, read: Callable, items: Iterable
) -> Iterator[tuple[object, Future]]:
    """Items, and what was read of them some time before it is wanted."""
    ahead = deque()
    for item in items:
        ahead.append((item, reader.submit(read, item)))
        if len(ahead) > AHEAD:
            yield ahead.popleft()
    yield from ahead
