"""Prefetch: opens image files and stretches their contrast in background threads."""

import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import NamedTuple

import numpy as np

from dsb2018.images import open_images
from dsb2018.images.microscopy_image import SMALL, MicroscopyImage, Windows
from dsb2018.images.nuclear_channel import choose_nuclear_channel
from dsb2018.inference.byte_budget import ByteBudget
from dsb2018.structures.contrast import GreyRange

AHEAD = 3  # maximum number of files, or images of a file, that are read ahead
MOST_AHEAD = 4 * SMALL  # maximum bytes that are read ahead; a single larger file is allowed


class ImageFile(NamedTuple):
    """An image file to process.

    Args:
        name: name of its results.
        path: the file or Zarr folder.
        fingerprint: hash of the state of the file, the model and the options.
    """

    name: str
    path: Path
    fingerprint: str


class OpenedImage(NamedTuple):
    """An image and its nuclear channel.

    Args:
        image: the image with all channels.
        channel: the nuclear channel.
        grey_range: gray values of the channel that become 0 and 255.
        rgb: (H, W, 3) uint8, the model's input before the zoom; None: the image is a stack or is
            processed in tiles.
    """

    image: MicroscopyImage
    channel: MicroscopyImage
    grey_range: GreyRange
    rgb: np.ndarray | None = None

    @property
    def nbytes(self) -> int:
        """Bytes in memory."""
        rgb_bytes = 0 if self.rgb is None else self.rgb.nbytes
        return rgb_bytes + (self.image.nbytes if self.image.is_in_memory else 0)


class Prefetcher:
    """Opens files in background threads."""

    def __init__(self, predictor, channel: str | None, pixel_size: float | None):
        """
        Args:
            predictor: a `Predictor`.
            channel: see `choose_nuclear_channel`.
            pixel_size: micrometers, which replaces the pixel size in the files; None: no change.
        """
        self._predictor, self._channel, self._pixel_size = predictor, channel, pixel_size
        self.budget = ByteBudget(MOST_AHEAD)
        self._file_reader = ThreadPoolExecutor(1)
        # A separate thread, because the file reader may wait for bytes that are released only after
        # all images of the current file were processed.
        self._image_reader = ThreadPoolExecutor(1)
        self._stopped = threading.Event()

    def files(self, files: Iterable[ImageFile]) -> Iterator[tuple[ImageFile, Future]]:
        """Opens files ahead of their use.

        The caller must release the bytes of the first image from `budget`.

        Yields:
            The file, and a future of its images: the first one as `OpenedImage`, and a list of the
            others as `MicroscopyImage`.
        """
        return _read_ahead(self._file_reader, self._open, files)

    def images(self, images: Iterable[MicroscopyImage]) -> Iterator[OpenedImage]:
        """Iterates over the other images of a file, which are prepared ahead of their use."""
        for _, opened in _read_ahead(self._image_reader, self._prepare, images):
            yield opened.result()

    def close(self) -> None:
        """Stops the threads."""
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
        image = with_pixel_size(image, self._pixel_size)
        channel = choose_nuclear_channel(image, self._channel)
        grey_range = self._predictor.preprocess.grey_range(AllWindows(channel, self._stopped))
        rgb = None
        if channel.depth is None and max(channel.size) <= self._predictor.tiling.whole:
            rgb = grey_range.to_rgb(channel.read(0, 0, *channel.size))
        return OpenedImage(image, channel, grey_range, rgb)


def with_pixel_size(image: MicroscopyImage, edge: float | None) -> MicroscopyImage:
    """Returns an image with pixels of another edge in micrometers; None: no change."""
    return replace(image, pixel_size=(edge, edge)) if edge else image


class AllWindows:
    """The windows of an image, or of all slices of a stack. Can be iterated several times.

    Args:
        image: has one time point.
        stopped: ends the iteration with an `InterruptedError`; None: nothing does.
    """

    def __init__(self, image: MicroscopyImage, stopped: threading.Event | None = None):
        depth = image.depth
        slices = [image] if depth is None else [image.at(Z=z) for z in range(depth)]
        self._windows: list[Windows] = [slice_image.windows() for slice_image in slices]
        self._stopped = stopped

    def __iter__(self) -> Iterator[np.ndarray]:
        for window in chain.from_iterable(self._windows):
            if self._stopped and self._stopped.is_set():  # the run has ended
                raise InterruptedError
            yield window


def _read_ahead(
    reader: ThreadPoolExecutor, read: Callable, items: Iterable
) -> Iterator[tuple[object, Future]]:
    """Iterates over items and futures of `read(item)`, which are started ahead of their use."""
    ahead = deque()
    for item in items:
        ahead.append((item, reader.submit(read, item)))
        if len(ahead) > AHEAD:
            yield ahead.popleft()
    yield from ahead
