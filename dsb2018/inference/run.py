"""Files in, nuclei out, one file after the other.

What is done is recorded, and a run that was interrupted goes on behind it.
"""

import hashlib
import json
import logging
import sys
from collections import deque
from collections.abc import Iterable, Sequence
from concurrent.futures import Future
from concurrent.futures.process import BrokenProcessPool
from dataclasses import replace
from functools import partial
from itertools import chain
from pathlib import Path

import numpy as np
from tqdm import tqdm

from dsb2018.inference.export.base import Exporter, ExportJob, StackJob
from dsb2018.inference.export.records import read_part_record, read_record
from dsb2018.inference.export.worker import ExportWorker
from dsb2018.inference.microscopy_image import MicroscopyImage
from dsb2018.inference.prefetch import ImageFile, OpenedImage, Prefetcher
from dsb2018.inference.tiling.cache import TileCache, delete_caches
from dsb2018.inference.tiling.stitching import divide, find_in_tile, stitch
from dsb2018.inference.volumes import SliceLinker
from dsb2018.io.files import write_atomically
from dsb2018.io.names import printable
from dsb2018.structures.nuclei import Nuclei

logger = logging.getLogger(__name__)
REVISION = 3  # increased when this code gives other results or stores them in another form
UNRECORDED = 3  # files whose results are not all exported yet, at most


class PredictionRun:
    """One process's share of a run."""

    def __init__(
        self,
        predictor,
        output: Path,
        exporters: Sequence[Exporter],
        channel: str | None,
        pixel_size: float | None,
        options: dict[str, str],
    ):
        """
        Args:
            predictor: a `Predictor`.
            output: the folder for everything.
            exporters: the output formats.
            channel: see `choose_channel`.
            pixel_size: micrometres, in place of what files say.
            options: all that the results depend on beside file and model.
        """
        self._predictor, self._tiling = predictor, predictor.tiling
        self._output, self._exporters, self._options = output, exporters, options
        self.done = output / ".done"
        self._prefetcher, self._worker = Prefetcher(predictor, channel, pixel_size), ExportWorker()

    def __enter__(self) -> "PredictionRun":
        return self

    def __exit__(self, *_) -> None:
        self._prefetcher.close()
        self._worker.close()
        self._predictor.use_threads()

    def record(self, name: str) -> dict | None:
        """What was recorded of a file that was done in this run or one like it before."""
        return read_record(self.done / name / "record.json")

    def work_on(self, images: Sequence[tuple[str, Path]], share: slice = slice(None)) -> list[str]:
        """Finds and writes the nuclei of files.

        Args:
            images: name and path of each, of all processes.
            share: which of them are this process's.

        Returns:
            What went wrong, a line for each file that failed.
        """
        failed, todo, unrecorded = [], [], deque()
        names = frozenset(name for name, _ in images)
        for name, path in images[share]:
            try:
                todo += self._if_to_do(name, path)
            except OSError as error:  # as of a link to nowhere
                failed.append(self._failure(ImageFile(name, path, ""), error))
        for file, opened in progress(self._prefetcher.files(todo), "file", len(todo)):
            try:
                first, others = opened.result()
                with self._prefetcher.budget.released_after(first.nbytes):
                    check_names(file, [first.image, *others], names)
                    unrecorded.append((file, *self._find(file, first, others)))
            except Exception as error:  # noqa: BLE001 one file must not stop the others
                failed.append(self._failure(file, error))
            while len(unrecorded) > UNRECORDED:
                failed += self._finish(*unrecorded.popleft())
        return failed + [reason for entry in unrecorded for reason in self._finish(*entry)]

    def _if_to_do(self, name: str, path: Path) -> list[ImageFile]:
        file = ImageFile(name, path, self._fingerprint(path))
        record = self.record(name)
        is_same = record is not None and record["fingerprint"] == file.fingerprint
        return [] if is_same and self._has_files(name, record) else [file]

    def _has_files(self, name: str, record: dict) -> bool:
        """Whether all results of a file still exist."""
        parts = [
            self.done / name / part
            for exporter in self._exporters
            for part in exporter.part_names(record)
        ]
        outputs = [
            path for exporter in self._exporters for path in exporter.outputs(self._output, record)
        ]
        return all(path.is_file() for path in parts) and all(map(_has_content, outputs))

    def _find(
        self, file: ImageFile, first: OpenedImage, others: list[MicroscopyImage]
    ) -> tuple[list[Future | dict], list[str]]:
        """Finds the nuclei of a file's images and passes them to the exporters.

        Returns:
            Rows of `images.csv`, or futures of them; and the names of stacks.
        """
        (self.done / file.name / "record.json").unlink(missing_ok=True)
        rows: dict[str, list] = {
            image.name: [row] for image in others if (row := self._finished_row(file, image))
        }
        remaining = [image for image in others if image.name not in rows]
        stacks = []
        for opened in chain([first], self._prefetcher.images(remaining)):
            name = opened.image.name
            if opened.channel.depth is None:
                nuclei = self._nuclei(file, opened, opened.channel)
                job = self._job(file, opened, name, nuclei)
                rows[name] = [self._worker.export(replace(job, is_part=bool(others)))]
            else:
                rows[name] = self._find_stack(file, opened)
                stacks.append(name)
        names = [first.image.name, *(image.name for image in others)]
        return [row for name in names for row in rows[name]], stacks

    def _finished_row(self, file: ImageFile, image: MicroscopyImage) -> dict | None:
        """Of a time point that an interrupted run has finished."""
        record = read_part_record(self.done / file.name / f"{image.name}.json")
        return record["row"] if record and record["fingerprint"] == file.fingerprint else None

    def _find_stack(self, file: ImageFile, opened: OpenedImage) -> list[Future | dict]:
        """Finds the nuclei slice by slice and links them to 3-D nuclei."""
        linker, rows, slices = SliceLinker(), [], []
        stack = opened.image.name
        for z in progress(range(opened.channel.depth), "slice"):
            nuclei = self._nuclei(file, opened, opened.channel.at(Z=z))
            numbers = linker.link(nuclei)
            job = self._job(file, opened, slice_name(stack, z), nuclei)
            image, channel = job.image.at(Z=z), job.channel.at(Z=z)
            job = replace(job, image=image, channel=channel, slice_number=z, numbers=numbers)
            rows.append(self._worker.export(job))
            slices.append((nuclei, numbers))
        parts = self.done / file.name
        job = StackJob(stack, opened.image, slices, linker.count, self._output, parts)
        for exporter in self._exporters:
            exporter.write_stack(job)
        return rows

    def _nuclei(self, file: ImageFile, opened: OpenedImage, channel: MicroscopyImage) -> Nuclei:
        is_small = max(channel.size) <= self._tiling.whole
        # Where each core waits for the slower one, a core less is faster beside a busy writer.
        self._predictor.use_threads(all_but=1 if is_small else 0)
        if opened.rgb is not None:
            return self._predictor.find([opened.rgb])[0]

        def read(y: int, x: int, height: int, width: int) -> np.ndarray:
            window = channel.read(y, x, height, width)
            return self._predictor.preprocess.to_rgb(window, opened.grey_range)

        if is_small:
            return self._predictor.find([read(0, 0, *channel.size)])[0]
        fixed = "_".join(f"{axis}{at}" for axis, at in sorted(channel.fixed.items())) or "all"
        cache = TileCache(self.done / file.name / "tiles" / fixed, file.fingerprint)
        find = partial(find_in_tile, read=read, size=channel.size, find=self._predictor.find_whole)
        tiles = divide(*channel.size, self._tiling)
        tiles = [tile for tile in tiles if not channel.is_absent(*tile.window)]
        # The nuclei are read again at the end. If they stayed in memory, they would fragment it:
        # the large arrays of the next tile would not fit between them (2 GB after 200 tiles).
        for number, tile in enumerate(progress(tiles, "tile")):
            cache.keep(number, partial(find, tile))
        nuclei = (cache.read(number, partial(find, tile)) for number, tile in enumerate(tiles))
        return stitch(channel.size, nuclei)

    def _job(self, file: ImageFile, opened: OpenedImage, name: str, nuclei: Nuclei) -> ExportJob:
        return ExportJob(
            name,
            opened.image,
            opened.channel,
            opened.grey_range,
            nuclei,
            self._exporters,
            self._output,
            self.done / file.name,
            file.fingerprint,
        )

    def _finish(self, file: ImageFile, rows: list[Future | dict], stacks: list[str]) -> list[str]:
        """Waits until a file is written, and records it."""
        try:
            done = [row.result() if isinstance(row, Future) else row for row in rows]
            record = {"fingerprint": file.fingerprint, "stacks": stacks, "images": done}
            path = self.done / file.name / "record.json"
            write_atomically(path, json.dumps(record) + "\n")
            delete_caches(path.parent / "tiles")
        except Exception as error:  # noqa: BLE001 as above
            return [self._failure(file, error)]
        return []

    def _failure(self, file: ImageFile, error: Exception) -> str:
        (self.done / file.name / "record.json").unlink(missing_ok=True)
        reason = str(error).strip() or type(error).__name__
        if isinstance(error, BrokenProcessPool):
            reason = "the process that writes was killed, as when memory is short; run it again"
        logger.debug("%s", reason, exc_info=error)
        reason = printable(reason)
        path = printable(file.path)
        return reason if path in reason else f"{path}: {reason}"

    def _fingerprint(self, path: Path) -> str:
        """Of all that a file's results are made from; of a Zarr store all its files."""
        files = [path, *(path.rglob("*") if path.is_dir() else ())]
        states = [(printable(f), f.stat().st_size, f.stat().st_mtime_ns) for f in sorted(files)]
        content = json.dumps([REVISION, states, self._options, self._predictor.fingerprint])
        return hashlib.sha256(content.encode()).hexdigest()


def _has_content(path: Path) -> bool:
    return path.is_file() and path.stat().st_size > 0


def check_names(file: ImageFile, images: Iterable[MicroscopyImage], taken: frozenset[str]) -> None:
    """
    Raises:
        ValueError: what is made of a file would have the name of another file's results.
    """
    names = {image.name for image in images} - {file.name}
    names |= {slice_name(image.name, z) for image in images for z in range(image.depth or 0)}
    for name in sorted(names & taken):
        raise ValueError(f"{file.path}: a part of it has the name of another file, {name}")


def slice_name(stack: str, z: int) -> str:
    """What a slice's results are called."""
    return f"{stack}_z{z:04d}"


def progress(what: Iterable, unit: str, total: int | None = None) -> tqdm:
    """A bar that goes when it is done; none where nobody watches."""
    return tqdm(what, unit=unit, total=total, leave=False, disable=not sys.stderr.isatty())
