"""Opens image files and stretches their contrast in the background, before they are needed."""

import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import NamedTuple

import numpy as np

from dsb2018.inference.byte_budget import ByteBudget
from dsb2018.inference.microscopy_image import SMALL, MicroscopyImage, Windows, choose_channel
from dsb2018.inference.readers import open_images
from dsb2018.structures.contrast import GreyRange

AHEAD = 3  # files, or images of a file, that are read ahead, at most
MOST_AHEAD = 4 * SMALL  # bytes of files that are read ahead; one larger file may be alone


class ImageFile(NamedTuple):
    """A file to process.

    Args:
        name: of its results.
        path: where it is.
        fingerprint: of the file as it is now, of the model, and of the options.
    """

    name: str
    path: Path
    fingerprint: str


class OpenedImage(NamedTuple):
    """An image, and the channel that the model gets, prepared as far as memory allows.

    Args:
        image: with all channels.
        channel: the one in which nuclei are found.
        grey_range: of that channel.
        rgb: (H, W, 3) uint8, the model's input before the zoom, if the image is small and no stack;
            else None.
    """

    image: MicroscopyImage
    channel: MicroscopyImage
    grey_range: GreyRange
    rgb: np.ndarray | None

    @property
    def nbytes(self) -> int:
        """In memory."""
        rgb_bytes = 0 if self.rgb is None else self.rgb.nbytes
        return rgb_bytes + (self.image.nbytes if self.image.is_in_memory else 0)


class Prefetcher:
    """Opens files in threads of its own."""

    def __init__(self, predictor, channel: str | None, pixel_size: float | None):
        """
        Args:
            predictor: a `Predictor`.
            channel: see `choose_channel`.
            pixel_size: micrometres, instead of what the files say.
        """
        self._predictor, self._channel, self._pixel_size = predictor, channel, pixel_size
        self.budget = ByteBudget(MOST_AHEAD)
        self._file_reader = ThreadPoolExecutor(1)
        # Its own thread: the reader of files may wait for bytes that only the current file frees.
        self._image_reader = ThreadPoolExecutor(1)
        self._stopped = threading.Event()

    def files(self, files: Iterable[ImageFile]) -> Iterator[tuple[ImageFile, Future]]:
        """Files, and futures of their first image, an `OpenedImage`, and of the others, which are
        not prepared. The caller frees the first image's bytes of `budget`."""
        return _read_ahead(self._file_reader, self._open, files)

    def images(self, images: Iterable[MicroscopyImage]) -> Iterator[OpenedImage]:
        """The other images of a file."""
        for _, opened in _read_ahead(self._image_reader, self._prepare, images):
            yield opened.result()

    def close(self) -> None:
        """Stops reading."""
        self._stopped.set()
        self.budget.close()
        for reader in (self._file_reader, self._image_reader):
            reader.shutdown(cancel_futures=True)

    def _open(self, file: ImageFile) -> tuple[OpenedImage, list[MicroscopyImage]]:
        first, *others = open_images(file.name, file.path)
        opened = self._prepare(first)
        self.budget.acquire(opened.nbytes)
        return opened, others

    def _prepare(self, image: MicroscopyImage) -> OpenedImage:
        if self._pixel_size:
            image = replace(image, pixel_size=(self._pixel_size,) * 2)
        channel = choose_channel(image, self._channel)
        preprocess = self._predictor.preprocess
        grey_range = preprocess.grey_range(_AllWindows(channel, self._stopped))
        rgb = None
        if channel.depth is None and max(channel.size) <= self._predictor.tiling.whole:
            rgb = preprocess.to_rgb(channel.read(0, 0, *channel.size), grey_range)
        return OpenedImage(image, channel, grey_range, rgb)


class _AllWindows:
    """All windows of an image, or of all slices of a stack; may be iterated again and again."""

    def __init__(self, image: MicroscopyImage, stopped: threading.Event):
        depth = image.depth
        slices = [image] if depth is None else [image.at(Z=z) for z in range(depth)]
        self._windows: list[Windows] = [plane.windows() for plane in slices]
        self._stopped = stopped

    def __iter__(self) -> Iterator[np.ndarray]:
        for window in chain.from_iterable(self._windows):
            if self._stopped.is_set():  # the run has ended
                raise InterruptedError
            yield window


def _read_ahead(
    reader: ThreadPoolExecutor, read: Callable, items: Iterable
) -> Iterator[tuple[object, Future]]:
    """Items, and futures of what `read` returns for them, which started before they are needed."""
    ahead = deque()
    for item in items:
        ahead.append((item, reader.submit(read, item)))
        if len(ahead) > AHEAD:
            yield ahead.popleft()
    yield from ahead
