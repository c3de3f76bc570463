"""Segments an image: the network runs once, then thresholds and sizes can be changed."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import numpy as np

from dsb2018.images.microscopy_image import MicroscopyImage
from dsb2018.inference.adjustable import AdjustableNuclei, StoredMaps
from dsb2018.inference.appearance import Appearance, picture_of
from dsb2018.inference.doubts import find_doubts
from dsb2018.inference.large_images import channel_reader
from dsb2018.inference.measurements import (
    Columns,
    measure_nuclei,
    typical_diameter,
    typical_score,
)
from dsb2018.inference.predictor import Predictor
from dsb2018.inference.prefetch import AllWindows
from dsb2018.inference.selection import Selection
from dsb2018.inference.volumes import SliceLinker, measure_volumes
from dsb2018.structures.contrast import GreyRange
from dsb2018.structures.nuclei import Nuclei


class Criteria(NamedTuple):
    """What the user may change without running the network again.

    Args:
        threshold: minimum probability of a nucleus, 0 to 1; None: that of the model.
        selection: which nuclei are kept.
    """

    threshold: float | None = None
    selection: Selection = Selection()


class Frame(NamedTuple):
    """The nuclei of a time point.

    Args:
        labels: (Y, X), or (Z, Y, X) for a stack, int32.
        columns: the measurements of the nuclei, in the order of their labels.
        doubts: see `find_doubts`; "" for a stack.
    """

    labels: np.ndarray
    columns: Columns
    doubts: str = ""


def summarize(frames: Sequence[Frame]) -> str:
    """Returns the number of nuclei, their size, and what should be checked."""
    columns = [frame.columns for frame in frames]
    count = sum(len(table["label"]) for table in columns)
    text = f"{count} nuclei"
    areas = [table["area"] for table in columns if "area" in table]
    if count and areas:
        diameter = np.median(2 * np.sqrt(np.concatenate(areas) / np.pi))
        text += f", median diameter {diameter:.1f} px"
    doubts = dict.fromkeys(frame.doubts for frame in frames if frame.doubts)
    return f"{text}. Check: {'; '.join(doubts)}" if doubts else text


class Segmentation:
    """The nuclei of an image: of one plane, of a stack, or of each time point of either.

    Args:
        image: the image with all channels, in which intensities are measured.
        channel: its nuclear channel, see `choose_channel`.
    """

    def __init__(self, image: MicroscopyImage, channel: MicroscopyImage):
        has_time = "T" in image.axes and "T" not in image.fixed
        times = range(image.length("T")) if has_time else [None]
        self._images = [image if time is None else image.at(T=time) for time in times]
        self._channels = [channel if time is None else channel.at(T=time) for time in times]
        self._folder = TemporaryDirectory(prefix="dsb2018-", ignore_cleanup_errors=True)
        self._planes: list[list[AdjustableNuclei]] = []  # of each time point
        self._grey_ranges: list[GreyRange] = []  # of each time point

    @property
    def frame_count(self) -> int:
        """Number of time points."""
        return len(self._channels)

    @property
    def depth(self) -> int | None:
        """Number of slices; None if the image is not a stack."""
        return self._channels[0].depth

    def run(self, predictor: Predictor) -> Iterator[float]:
        """Runs the network on all planes.

        Yields:
            The part that is done, 0 to 1.
        """
        count = self.frame_count * (self.depth or 1)
        done = 0
        for channel in self._channels:
            grey_range = predictor.preprocess.grey_range(AllWindows(channel))
            self._grey_ranges.append(grey_range)
            planes = [channel]
            zoom = None
            if channel.depth is not None:
                planes = [channel.at(Z=z) for z in range(channel.depth)]
                middle = planes[len(planes) // 2]
                zoom = predictor.find_zoom(channel_reader(grey_range, middle), middle.size)
            found = []
            for plane in planes:
                read = channel_reader(grey_range, plane)
                zoom_here = zoom or predictor.choose_zoom(read, plane.size)
                tiles, outputs = predictor.tiles(plane.size, zoom_here), []
                for output in predictor.outputs(read, tiles, zoom_here):
                    if isinstance(output, StoredMaps):
                        output = output.on_disk(Path(self._folder.name))
                    outputs.append(output)
                    yield (done + len(outputs) / len(tiles)) / count
                found.append(AdjustableNuclei(plane.size, tiles, outputs))
                done += 1
            self._planes.append(found)

    def find_plane(self, time: int, z: int, criteria: Criteria) -> Nuclei:
        """Finds the nuclei of one plane.

        Args:
            time: index of the time point; 0 if there is only one.
            z: index of the slice; 0 if the image is not a stack.
            criteria: threshold and sizes.

        Raises:
            ValueError: see `Area.in_pixels`.
        """
        channel = self._channels[time]
        nuclei = self._planes[time][z].nuclei(criteria.threshold)
        return criteria.selection.apply(nuclei, channel.pixel_size, str(channel.path))

    def find(self, criteria: Criteria) -> Iterator[Frame]:
        """Iterates over the time points: finds and measures their nuclei.

        The nuclei of a stack are linked to 3-D nuclei. The labels of a time point follow those of
        the one before, so that each is used once.

        Raises:
            ValueError: see `Area.in_pixels`.
        """
        first_label = 1
        for time, image in enumerate(self._images):
            slices = [self.find_plane(time, z, criteria) for z in range(len(self._planes[time]))]
            is_plane = self.depth is None
            frame = self._measure(time, slices[0]) if is_plane else _link(slices, image)
            yield _shift_labels(frame, first_label - 1)
            first_label += len(frame.columns["label"])

    def _measure(self, time: int, nuclei: Nuclei) -> Frame:
        columns = measure_nuclei(nuclei, self._images[time])
        picture = picture_of(self._channels[time], self._grey_ranges[time])
        doubts = find_doubts(
            typical_score(columns), typical_diameter(columns), Appearance(nuclei, *picture)
        )
        return Frame(nuclei.labels, columns, doubts)

    def measure(self, labels: np.ndarray) -> Iterator[Columns]:
        """Iterates over the time points: measures nuclei that may have been changed by hand.

        Args:
            labels: (T, Z, Y, X) integers, with one time point or slice if the image has no such
                axis.
        """
        for image, stack in zip(self._images, labels, strict=True):
            names = np.unique(stack[stack > 0])
            compact = np.where(stack > 0, np.searchsorted(names, stack) + 1, 0)
            slices = [Nuclei.from_labels(plane) for plane in compact]
            if self.depth is None:
                columns = measure_nuclei(slices[0], image)
            else:
                numbers = [np.unique(plane[plane > 0]).astype(np.int32) for plane in compact]
                columns = measure_volumes(
                    list(zip(slices, numbers, strict=True)), len(names), image
                )
            yield {**columns, "label": names.astype(np.int64)}


def _shift_labels(frame: Frame, shift: int) -> Frame:
    if not shift:
        return frame
    labels = np.where(frame.labels > 0, frame.labels + shift, 0).astype(np.int32)
    return frame._replace(
        labels=labels, columns={**frame.columns, "label": frame.columns["label"] + shift}
    )


def _link(slices: list[Nuclei], image: MicroscopyImage) -> Frame:
    linker = SliceLinker()
    for nuclei in slices:
        linker.add(nuclei)
    numbers, count = linker.labels()
    linked = list(zip(slices, numbers, strict=True))
    planes = [
        np.concatenate([[0], labels]).astype(np.int32)[nuclei.labels] for nuclei, labels in linked
    ]
    return Frame(np.stack(planes), measure_volumes(linked, count, image))
