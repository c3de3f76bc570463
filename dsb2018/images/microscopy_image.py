"""Microscopy images of any file format, which are read in windows."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from dsb2018.images.stains import STAINS, unmix

SMALL = 1 << 26  # bytes; arrays up to this size are read as a whole and sent to other processes
RGB_CHANNELS = ("red", "green", "blue")
CHANNEL_AXES = "CS"  # C: microscope channels; S: samples of a pixel, such as red, green and blue


class AbsentTiles(NamedTuple):
    """Tiles without data in the file. For example, some scanners do not store empty glass.

    Args:
        absent: (rows, columns) bool, True for tiles without data.
        height, width: size of a tile, pixels.
    """

    absent: np.ndarray
    height: int
    width: int

    def cover(self, y: int, x: int, height: int, width: int) -> bool:
        """Returns whether a window lies completely in tiles without data."""
        rows = slice(y // self.height, -(-(y + height) // self.height))
        columns = slice(x // self.width, -(-(x + width) // self.width))
        return bool(self.absent[rows, columns].all())


@dataclass(frozen=True)
class MicroscopyImage:
    """An image, or a stack of slices.

    Args:
        name: name of the results; unique among the images of a run.
        path: the file or Zarr folder.
        array: the pixels: a NumPy array, a memory map or a Zarr array, which is read in windows.
        axes: a letter for each axis of the array: Y, X, and any of Z, C, S and T.
        fixed: index on each axis that is reduced to one position.
        pixel_size: height and width of a pixel in micrometers; None: unknown.
        slice_distance: distance between slices in micrometers; None: unknown.
        channels: names of the channels; empty: unknown.
        copies: number of identical channels in the file, of which the array contains one.
        absent: tiles without data in the file; None: all tiles have data.
        stain: stain whose amount `read` computes from the colors, see `unmix`; "": none.
    """

    name: str
    path: Path
    array: Any  # indexed by slices, with `shape` and `dtype`
    axes: str
    fixed: dict[str, int] = field(default_factory=dict)
    pixel_size: tuple[float, float] | None = None
    slice_distance: float | None = None
    channels: tuple[str, ...] = ()
    copies: int = 1
    absent: AbsentTiles | None = None
    stain: str = ""

    @property
    def size(self) -> tuple[int, int]:
        """(H, W) in pixels."""
        return self.length("Y"), self.length("X")

    @property
    def depth(self) -> int | None:
        """Number of slices; None if the image is not a stack."""
        return self.length("Z") if "Z" in self.axes and "Z" not in self.fixed else None

    @property
    def channel_axis(self) -> str | None:
        """C or S; None if the array has no channel axis or if it is fixed."""
        return next((a for a in self.axes if a in CHANNEL_AXES and a not in self.fixed), None)

    @property
    def dtype(self) -> np.dtype:
        """Data type of the pixels that `read` returns."""
        if self.stain:
            return np.dtype(np.float32)
        return self._file_dtype

    @property
    def _file_dtype(self) -> np.dtype:
        return np.dtype(self.array.dtype).newbyteorder("=")

    @property
    def is_in_memory(self) -> bool:
        """Whether all pixels are in memory."""
        return type(self.array) is np.ndarray  # False for a memory map, a subclass

    def length(self, axis: str) -> int:
        """Returns the length of an axis of the array."""
        return int(self.array.shape[self.axes.index(axis)])

    def at(self, **positions: int) -> "MicroscopyImage":
        """Returns the image with axes fixed at an index, for example `at(Z=3)`."""
        return replace(self, fixed={**self.fixed, **positions})

    @property
    def nbytes(self) -> int:
        """Bytes of the pixels that the fixed axes select."""
        free = [axis for axis in self.axes if axis not in self.fixed]
        return int(np.prod([self.length(axis) for axis in free])) * self._file_dtype.itemsize

    def loaded(self) -> "MicroscopyImage":
        """Returns the image in memory, without the fixed axes.

        Raises:
            ValueError: the file is damaged.
        """
        free = "".join(axis for axis in self.axes if axis not in self.fixed)
        return replace(self, array=self._get(self.fixed), axes=free, fixed={})

    def read(self, y: int, x: int, height: int, width: int) -> np.ndarray:
        """Reads a window of an image that is not a stack.

        Args:
            y, x: position of the window, pixels.
            height, width: size of the window, pixels.

        Returns:
            (height, width, channels) pixels in the dtype of the image. The result is 0 if the
            window lies completely in tiles without data.

        Raises:
            ValueError: the file is damaged.
        """
        if self.is_absent(y, x, height, width):
            return np.zeros((height, width, self._channel_count()), self.dtype)
        rows, columns = slice(y, y + height), slice(x, x + width)
        ranges: dict[str, int | slice] = {"Y": rows, "X": columns, **self.fixed}
        window = self._get(ranges)
        axes = [axis for axis in self.axes if axis not in self.fixed]
        if len(axes) == 2:
            window, axes = window[..., None], [*axes, "S"]
        order = [axes.index(axis) for axis in ("Y", "X", self.channel_axis or "S")]
        window = window.transpose(order)
        return unmix(window, self.stain) if self.stain else window

    def _channel_count(self) -> int:
        if self.stain:
            return 1
        return self.length(self.channel_axis) if self.channel_axis else 1

    def _get(self, ranges: Mapping[str, int | slice]) -> np.ndarray:
        key = tuple(ranges.get(axis, slice(None)) for axis in self.axes)
        try:
            return np.asarray(self.array[key], self._file_dtype)
        except Exception as error:  # decoders raise errors of any type
            raise ValueError(f"{self.path}: damaged ({error})") from error

    def is_absent(self, y: int, x: int, height: int, width: int) -> bool:
        """Returns whether the file has no data for a window, see `AbsentTiles`."""
        return self.absent is not None and self.absent.cover(y, x, height, width)

    def windows(self, edge: int = 1024, part: tuple[int, int, int, int] | None = None) -> "Windows":
        """Returns an iterable of windows of at most `edge` × `edge` pixels that cover the image.

        Windows without data in the file are skipped. Each iteration reads the pixels again.

        Args:
            edge: pixels.
            part: y, x, height and width of the pixels that are covered; None: all.
        """
        return Windows(self, edge, part or (0, 0, *self.size))

    def sample(self, count: int = 4, edge: int = 256) -> np.ndarray:
        """Reads some pixels from all parts of the image.

        Args:
            count: number of windows in a row and in a column. A small image has fewer.
            edge: of the windows, pixels.

        Returns:
            (n, 1, channels) pixels of the image, or of the middle slice of a stack.
        """
        image = self if self.depth is None else self.at(Z=self.depth // 2)
        height, width = image.size
        h, w = min(edge, height), min(edge, width)
        rows, columns = (
            np.unique(np.linspace(0, length - size, min(count, -(-length // size))).astype(int))
            for length, size in ((height, h), (width, w))
        )
        windows = [
            image.read(int(y), int(x), h, w)
            for y in rows
            for x in columns
            if not image.is_absent(int(y), int(x), h, w)
        ]
        if not windows:
            windows = [image.read(0, 0, h, w)]
        return np.concatenate([window.reshape(-1, 1, window.shape[2]) for window in windows])


@dataclass(frozen=True)
class Windows:
    """The windows of an image, see `MicroscopyImage.windows`."""

    image: MicroscopyImage
    edge: int
    part: tuple[int, int, int, int]

    def __iter__(self) -> Iterator[np.ndarray]:
        for _, window in self.with_positions():
            yield window

    def with_positions(self) -> Iterator[tuple[tuple[int, int], np.ndarray]]:
        """Iterates over the (y, x) of the first pixel of each window, and the window."""
        top, left, height, width = self.part
        bottom, right = top + height, left + width
        for y in range(top, bottom, self.edge):
            for x in range(left, right, self.edge):
                h, w = min(self.edge, bottom - y), min(self.edge, right - x)
                if not self.image.is_absent(y, x, h, w):
                    yield (y, x), self.image.read(y, x, h, w)


def choose_channel(image: MicroscopyImage, channel: str | None) -> MicroscopyImage:
    """Selects the nuclear channel.

    Args:
        image: an image with any number of channels.
        channel: index, from 0, or name of the nuclear channel; for RGB images one of
            `RGB_CHANNELS` or `STAINS`; None: only for images that have a single channel or that
            are RGB images, which are returned with all three channels.

    Raises:
        ValueError: the channel does not exist, or `channel` is None and the image has several.
    """
    axis = image.channel_axis
    count = image.length(axis) if axis else image.copies
    if channel is None:
        if axis is None or (axis == "S" and count in (1, 3)):
            return image
        if count == 1:
            return image.at(**{axis: 0})
        listed = f" ({', '.join(image.channels)})" if image.channels else ""
        raise ValueError(
            f"{image.path}: {count} channels{listed}; name the nuclear channel with --channel"
        )
    if channel.lower() in STAINS and axis == "S" and count == 3:
        return replace(image, stain=channel.lower())
    if channel.lower() in STAINS and axis is None:  # a gray image
        return image
    is_number = channel.isascii() and channel.isdigit()
    if count == 1 and not image.channels and not is_number:
        channel, is_number = "0", True  # a name is ignored if the only channel has no name
    samples = RGB_CHANNELS if axis == "S" and count == 3 else ()
    names = [name.lower() for name in image.channels or samples]
    is_name = channel.lower() in names
    index = names.index(channel.lower()) if is_name else int(channel) if is_number else -1
    if not 0 <= index < count:
        expected = f"{', '.join(image.channels or samples)} or " if names else ""
        expected += f"an index from 0 to {count - 1}"
        if image.depth is not None and axis is None:
            expected += f" (its {image.depth} pages are slices of a stack)"
        raise ValueError(f"{image.path}: no channel {channel!r}, expected {expected}")
    return image.at(**{axis: index}) if axis else image
