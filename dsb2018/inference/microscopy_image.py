"""A microscope's image as inference sees it: read in windows, whatever file it comes from."""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

SMALL = 1 << 26  # bytes; arrays up to this are read at once and handed from process to process
CHANNEL_AXES = "CS"  # C: channels of a microscope; S: samples of a pixel, as red, green and blue


class AbsentTiles(NamedTuple):
    """Tiles that a file names but does not hold, as some scanners leave out empty glass.

    Args:
        absent: (rows, columns) bool, one for each tile.
        height, width: of a tile, pixels.
    """

    absent: np.ndarray
    height: int
    width: int

    def cover(self, y: int, x: int, height: int, width: int) -> bool:
        """Whether no pixel of a window is in the file."""
        rows = slice(y // self.height, -(-(y + height) // self.height))
        columns = slice(x // self.width, -(-(x + width) // self.width))
        return bool(self.absent[rows, columns].all())


@dataclass(frozen=True)
class MicroscopyImage:
    """An image, or a stack of slices.

    Args:
        name: what its results are called; unique among the images of a run.
        path: of the file or Zarr folder.
        array: of any of the axes, in memory, or of Zarr, of which only what is wanted is read.
        axes: a letter for each axis of the array: Y, X, and any of Z, C, S, or T.
        fixed: position on axes that are not run through.
        pixel_size: (y, x) micrometres, where the file says.
        slice_distance: micrometres between slices, where the file says.
        channels: names of the channels, where the file says.
        copies: channels of the file that are all the same, of which this is one.
        absent: tiles that the file does not hold; None: it holds all.
    """

    name: str
    path: Path
    array: object
    axes: str
    fixed: dict[str, int] = field(default_factory=dict)
    pixel_size: tuple[float, float] | None = None
    slice_distance: float | None = None
    channels: tuple[str, ...] = ()
    copies: int = 1
    absent: AbsentTiles | None = None

    @property
    def size(self) -> tuple[int, int]:
        """(H, W), pixels."""
        return self.length("Y"), self.length("X")

    @property
    def depth(self) -> int | None:
        """Number of slices; None: not a stack."""
        return self.length("Z") if "Z" in self.axes and "Z" not in self.fixed else None

    @property
    def dtype(self) -> np.dtype:
        """Of the pixels, as they are read."""
        return np.dtype(self.array.dtype).newbyteorder("=")

    @property
    def is_in_memory(self) -> bool:
        """Whether the pixels have been read."""
        return type(self.array) is np.ndarray  # not a memory map, which is one too

    def length(self, axis: str) -> int:
        """Of an axis that the array has."""
        return int(self.array.shape[self.axes.index(axis)])

    def at(self, **positions: int) -> "MicroscopyImage":
        """The same with axes held at a position, as `Z=3`."""
        return replace(self, fixed={**self.fixed, **positions})

    @property
    def nbytes(self) -> int:
        """Of the pixels that the axes that are held reach."""
        free = [axis for axis in self.axes if axis not in self.fixed]
        return int(np.prod([self.length(axis) for axis in free])) * self.dtype.itemsize

    def loaded(self) -> "MicroscopyImage":
        """The same in memory, without the axes that are held and what they do not reach.

        Raises:
            ValueError: the file is damaged there.
        """
        free = "".join(axis for axis in self.axes if axis not in self.fixed)
        return replace(self, array=self._get(self.fixed), axes=free, fixed={})

    def read(self, y: int, x: int, height: int, width: int) -> np.ndarray:
        """A window of a image that is no stack, (height, width, channels), of its own dtype; 0
        where the file holds no pixels.

        Raises:
            ValueError: the file is damaged there.
        """
        if self.is_absent(y, x, height, width):
            return np.zeros((height, width, self._channel_count()), self.dtype)
        ranges = {"Y": slice(y, y + height), "X": slice(x, x + width), **self.fixed}
        window = self._get(ranges)
        left = [axis for axis in self.axes if axis not in self.fixed]
        if len(left) == 2:
            window, left = window[..., None], [*left, "S"]
        channel = next(axis for axis in left if axis in CHANNEL_AXES)
        return window.transpose([left.index(axis) for axis in ("Y", "X", channel)])

    def _channel_count(self) -> int:
        axes = [a for a in self.axes if a in CHANNEL_AXES and a not in self.fixed]
        return self.length(axes[0]) if axes else 1

    def _get(self, ranges: dict[str, int | slice]) -> np.ndarray:
        key = tuple(ranges.get(axis, slice(None)) for axis in self.axes)
        try:
            return np.asarray(self.array[key], self.dtype)
        except Exception as error:  # decoders raise whatever they like
            raise ValueError(f"{self.path}: damaged ({error})") from error

    def is_absent(self, y: int, x: int, height: int, width: int) -> bool:
        """Whether the file holds no pixel of a window, see `AbsentTiles`."""
        return self.absent is not None and self.absent.cover(y, x, height, width)

    def windows(self, edge: int = 1024) -> "Windows":
        """The whole image in windows of at most `edge` × `edge` pixels, without those that the
        file does not hold; may be run through again and again."""
        return Windows(self, edge)


@dataclass(frozen=True)
class Windows:
    """See `MicroscopyImage.windows`."""

    image: MicroscopyImage
    edge: int

    def __iter__(self) -> Iterator[np.ndarray]:
        for _, window in self.with_positions():
            yield window

    def with_positions(self) -> Iterator[tuple[tuple[int, int], np.ndarray]]:
        """The (y, x) of each window's first pixel, and the window."""
        height, width = self.image.size
        for y in range(0, height, self.edge):
            for x in range(0, width, self.edge):
                h, w = min(self.edge, height - y), min(self.edge, width - x)
                if not self.image.is_absent(y, x, h, w):
                    yield (y, x), self.image.read(y, x, h, w)


def choose_channel(image: MicroscopyImage, wanted: str | None) -> MicroscopyImage:
    """The channel that nuclei are looked for in.

    Args:
        image: with any number of channels.
        wanted: a number from 0, or a name that the file gives; None: grey and colour images need
            no choice.

    Raises:
        ValueError: no such channel; or there are several, and none is wanted.
    """
    axis = next((a for a in image.axes if a in CHANNEL_AXES and a not in image.fixed), None)
    count = image.length(axis) if axis else image.copies
    if wanted is None:
        if axis is None or (axis == "S" and count in (1, 3)):
            return image
        if count == 1:
            return image.at(**{axis: 0})
        names = f" ({', '.join(image.channels)})" if image.channels else ""
        raise ValueError(
            f"{image.path}: {count} channels{names}; say with --channel in which the nuclei are"
        )
    is_number = wanted.isascii() and wanted.isdigit()
    if count == 1 and not image.channels and not is_number:
        wanted, is_number = "0", True  # a name chooses among channels that have names
    names = [name.lower() for name in image.channels]
    by_name = wanted.lower() in names
    index = names.index(wanted.lower()) if by_name else int(wanted) if is_number else -1
    if not 0 <= index < count:
        there = ", ".join(image.channels) or f"0 to {count - 1}"
        raise ValueError(f"{image.path}: no channel {wanted!r}; there are {there}")
    return image.at(**{axis: index}) if axis else image
