"""Segments, measures and exports image files.

Finished files are recorded, so that an interrupted run can be resumed.
"""

import logging
from collections import deque
from collections.abc import Iterable, Sequence
from concurrent.futures import Future
from concurrent.futures.process import BrokenProcessPool
from dataclasses import replace
from itertools import chain
from pathlib import Path

import numpy as np

from dsb2018.images import open_images
from dsb2018.images.microscopy_image import MicroscopyImage
from dsb2018.images.nuclear_channel import choose_nuclear_channel
from dsb2018.inference.export.base import Exporter, ExportJob, StackJob
from dsb2018.inference.export.worker import ExportHere, ExportWorker
from dsb2018.inference.finished_files import FinishedFiles
from dsb2018.inference.given_nuclei import GivenNuclei
from dsb2018.inference.large_images import LargeImage, LargeImages, Share, channel_reader
from dsb2018.inference.prefetch import ImageFile, OpenedImage, Prefetcher, with_pixel_size
from dsb2018.inference.selection import NO_SELECTION, Selection
from dsb2018.inference.volumes import SliceLinker
from dsb2018.io.names import printable
from dsb2018.progress import progress
from dsb2018.structures.nuclei import Nuclei

logger = logging.getLogger(__name__)
MAX_UNRECORDED = 3  # maximum number of files that are being exported
NO_NUCLEI = Nuclei((0, 0), [], np.zeros(0, np.float32))


class PredictionRun:
    """The part of a run that one process computes."""

    def __init__(
        self,
        predictor,
        output: Path,
        exporters: Sequence[Exporter],
        channel: str | None,
        pixel_size: float | None,
        options: dict[str, str],
        selection: Selection = NO_SELECTION,
        gamma: float | None = None,
        *,
        worker: ExportWorker | ExportHere | None = None,
        share: Share | None = None,
    ):
        """
        Args:
            predictor: a `Predictor` or `GivenNuclei`.
            output: output folder of the run.
            exporters: the selected output formats.
            channel: see `choose_nuclear_channel`.
            pixel_size: micrometers, which replaces the pixel size in the files; None: no change.
            options: see `FinishedFiles`.
            selection: which nuclei are kept.
            gamma: see `draw_overlay`.
            worker: measures and exports the images; None: another process.
            share: see `LargeImages`.
        """
        self._selection, self._gamma = selection, gamma
        self._predictor, self._tiling = predictor, predictor.tiling
        self._output, self.exporters = output, exporters
        self.finished = FinishedFiles(output, exporters, options, predictor.fingerprint)
        self._prefetcher = Prefetcher(predictor, channel, pixel_size)
        self._channel, self._pixel_size = channel, pixel_size
        self.large_images = LargeImages(
            predictor, self.finished.folder, selection, self._open_job, share
        )
        self._worker = worker or ExportWorker()

    def __enter__(self) -> "PredictionRun":
        return self

    def __exit__(self, *_) -> None:
        self._prefetcher.close()
        self._worker.close()
        self._predictor.use_threads()

    def work_on(
        self, images: Sequence[tuple[str, Path]], names: frozenset[str] | None = None
    ) -> list[str]:
        """Processes the files that are not finished.

        Args:
            images: (name of the results, path) of the files.
            names: of the files of all processes; None: those of `images`.

        Returns:
            An error message for each file that failed.
        """
        failed, todo, unrecorded = [], [], deque()
        names = names or frozenset(name for name, _ in images)
        for name, path in images:
            try:
                file = ImageFile(name, path, self.finished.fingerprint(path))
                if not self.finished.includes(file):
                    todo.append(file)
            except OSError as error:  # for example a broken link
                failed.append(self._failure(ImageFile(name, path, ""), error))
        for file, opened in progress(self._prefetcher.files(todo), "file", len(todo)):
            try:
                first, others = opened.result()
                with self._prefetcher.budget.released_after(first.nbytes):
                    check_names(file, [first.image, *others], names)
                    unrecorded.append((file, *self._segment_file(file, first, others)))
            except Exception as error:  # noqa: BLE001 the other files must be processed
                failed.append(self._failure(file, error))
            while len(unrecorded) > MAX_UNRECORDED:
                failed += self._finish(*unrecorded.popleft())
        return failed + [reason for results in unrecorded for reason in self._finish(*results)]

    def _segment_file(
        self, file: ImageFile, first: OpenedImage, others: list[MicroscopyImage]
    ) -> tuple[list[Future | dict], list[str]]:
        """Segments the images of a file and passes them to the exporters.

        Returns:
            The rows of `images.csv`, or futures of them, and the names of the stacks.
        """
        self.finished.remove(file.name)
        rows: dict[str, list] = {
            image.name: [row] for image in others if (row := self.finished.row(file, image))
        }
        remaining = [image for image in others if image.name not in rows]
        stacks = []
        for opened in chain([first], self._prefetcher.images(remaining)):
            name = opened.image.name
            if opened.channel.depth is None:
                rows[name] = [self._process_image(file, opened, is_part=bool(others))]
            else:
                rows[name] = self._segment_stack(file, opened)
                stacks.append(name)
        names = [first.image.name, *(image.name for image in others)]
        return [row for name in names for row in rows[name]], stacks

    def _segment_stack(self, file: ImageFile, opened: OpenedImage) -> list[Future | dict]:
        """Segments a stack slice by slice and links the nuclei to 3-D nuclei."""
        linker, slices = SliceLinker(), []
        stack = opened.image.name
        middle = opened.channel.at(Z=opened.channel.depth // 2)
        read = channel_reader(opened.grey_range, middle)
        zoom = self._predictor.find_zoom(read, middle.size)
        for z in progress(range(opened.channel.depth), "slice", opened.channel.depth):
            slices.append(self._segment_image(file, opened, opened.channel.at(Z=z), zoom))
            linker.add(slices[-1])
        labels, count = linker.labels()
        linked, rows = list(zip(slices, labels, strict=True)), []
        for z, (nuclei, numbers) in enumerate(linked):
            job = self._export_job(file, opened, slice_name(stack, z), nuclei)
            image, channel = job.image.at(Z=z), job.channel.at(Z=z)
            job = replace(job, image=image, channel=channel, slice_number=z, numbers=numbers)
            rows.append(self._worker.export(job))
        parts = self.finished.folder / file.name
        job = StackJob(stack, opened.image, linked, count, self._output, parts)
        for exporter in self.exporters:
            exporter.write_stack(job)
        return rows

    def _process_image(
        self, file: ImageFile, opened: OpenedImage, *, is_part: bool
    ) -> Future | dict:
        """Segments, measures and exports a 2-D image; returns its row, or a future of it."""
        if self._is_large(opened.channel):
            self._predictor.use_threads()
            large = self._large_image(file, opened, opened.channel)._replace(is_part=is_part)
            job = self._export_job(file, opened, opened.image.name, NO_NUCLEI)
            return self.large_images.export(large, replace(job, is_part=is_part))
        nuclei = self._segment_image(file, opened, opened.channel)
        job = self._export_job(file, opened, opened.image.name, nuclei)
        return self._worker.export(replace(job, is_part=is_part))

    def _is_large(self, channel: MicroscopyImage) -> bool:
        is_given = isinstance(self._predictor, GivenNuclei)
        return not is_given and max(channel.size) > self._tiling.whole

    def _large_image(
        self,
        file: ImageFile,
        opened: OpenedImage,
        channel: MicroscopyImage,
        zoom: float | None = None,
    ) -> LargeImage:
        if zoom is None:
            read = channel_reader(opened.grey_range, channel)
            zoom = self._predictor.find_zoom(read, channel.size)
        return LargeImage(file, opened.image.name, channel.fixed, opened.grey_range, zoom)

    def _open_job(self, large: LargeImage) -> ExportJob:
        """Opens an image in a worker of a cluster, see `LargeImages`."""
        images = open_images(large.file.name, large.file.path)
        image = with_pixel_size(
            next(image for image in images if image.name == large.image), self._pixel_size
        )
        channel = replace(choose_nuclear_channel(image, self._channel), fixed=large.fixed)
        opened = OpenedImage(image, channel, large.grey_range)
        job = self._export_job(large.file, opened, large.image, NO_NUCLEI)
        return replace(job, is_part=large.is_part)

    def _segment_image(
        self,
        file: ImageFile,
        opened: OpenedImage,
        channel: MicroscopyImage,
        zoom: float | None = None,
    ) -> Nuclei:
        is_large = self._is_large(channel)
        # With a single fast pass per image, leave one core to the export process. Otherwise, each
        # step of the network waits for the thread that shares a core with it.
        is_fast = not is_large and not self._predictor.estimates_diameter
        self._predictor.use_threads(all_but=1 if is_fast else 0)
        if is_large:  # a slice of a stack
            return self.large_images.find(self._large_image(file, opened, channel, zoom), channel)
        nuclei = self._find(file, opened, channel, zoom)
        return self._selection.apply(nuclei, channel.pixel_size, str(channel.path))

    def _find(
        self,
        file: ImageFile,
        opened: OpenedImage,
        channel: MicroscopyImage,
        zoom: float | None,
    ) -> Nuclei:
        if isinstance(self._predictor, GivenNuclei):
            return self._predictor.read(file.path, channel.size)
        if opened.rgb is not None:
            return self._predictor.find([opened.rgb])[0]
        read = channel_reader(opened.grey_range, channel)
        return self._predictor.find([read(0, 0, *channel.size)], zoom)[0]

    def _export_job(
        self, file: ImageFile, opened: OpenedImage, name: str, nuclei: Nuclei
    ) -> ExportJob:
        return ExportJob(
            name,
            opened.image,
            opened.channel,
            opened.grey_range,
            nuclei,
            self.exporters,
            self._output,
            self.finished.folder / file.name,
            file.fingerprint,
            gamma=self._gamma,
        )

    def _finish(self, file: ImageFile, rows: list[Future | dict], stacks: list[str]) -> list[str]:
        """Waits until a file is exported, and records it; returns error messages."""
        try:
            images = [row.result() if isinstance(row, Future) else row for row in rows]
            self.finished.add(file, images, stacks)
        except Exception as error:  # noqa: BLE001 the other files must be processed
            return [self._failure(file, error)]
        return []

    def _failure(self, file: ImageFile, error: Exception) -> str:
        self.finished.remove(file.name)
        reason = str(error).strip() or type(error).__name__
        if isinstance(error, BrokenProcessPool):
            reason = "the export process was killed, perhaps because memory ran out; run it again"
        logger.debug("%s", reason, exc_info=error)
        reason = printable(reason)
        path = printable(file.path)
        return reason if path in reason else f"{path}: {reason}"


def check_names(
    file: ImageFile, images: Iterable[MicroscopyImage], file_names: frozenset[str]
) -> None:
    """Checks that the images and slices of a file do not have the names of other files.

    Args:
        file: the file.
        images: the images of the file.
        file_names: names of the results of all files.

    Raises:
        ValueError: the results would overwrite those of another file.
    """
    names = {image.name for image in images} - {file.name}
    names |= {slice_name(image.name, z) for image in images for z in range(image.depth or 0)}
    for name in sorted(names & file_names):
        raise ValueError(
            f"{file.path}: one of its images or slices has the name of another file, {name}; "
            "rename one of the files"
        )


def slice_name(stack: str, z: int) -> str:
    """Returns the name of the results of a slice."""
    return f"{stack}_z{z:04d}"
