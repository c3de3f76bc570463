"""Files in, nuclei out, one file after the other.

Reading ahead is done by a thread, measuring and writing by another process, so the network waits
for neither. What is done is recorded, and a run that was interrupted goes on behind it.
"""

import hashlib
import json
import logging
import os
import shutil
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import replace
from functools import partial
from itertools import chain
from multiprocessing import get_context, parent_process
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from tqdm import tqdm

from dsb2018.files import write_atomically
from dsb2018.inference.contrast import GreyRange
from dsb2018.inference.formats.labels import write_volume
from dsb2018.inference.formats.table import write_part
from dsb2018.inference.nuclei import Nuclei
from dsb2018.inference.pictures import SMALL, Picture, Windows, choose_channel
from dsb2018.inference.readers import open_picture
from dsb2018.inference.resume import TileStore
from dsb2018.inference.room import Room
from dsb2018.inference.stacks import SliceLinker, measure_volumes
from dsb2018.inference.stitching import divide, look_at, stitch
from dsb2018.inference.writing import Job, read_record, write_image

logger = logging.getLogger(__name__)
REVISION = 2  # one more where this code gives other results or keeps them in another form
AHEAD = 3  # files that are read, and images that wait to be written, at most
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


class Run:
    """One process's share of a run."""

    def __init__(
        self,
        predictor,
        output: Path,
        formats: list[str],
        channel: str | None,
        pixel_size: float | None,
        asked: dict[str, str],
    ):
        """
        Args:
            predictor: a `Predictor`.
            output: the folder for everything.
            formats: some of `FORMATS`.
            channel: see `choose_channel`.
            pixel_size: micrometres, in place of what files say.
            asked: all that results depend on beside file and model.
        """
        self._predictor, self._tiling = predictor, predictor.tiling
        self._output, self._formats, self._asked = output, formats, asked
        self._channel, self._pixel_size = channel, pixel_size
        self.done = output / ".done"
        self._names: frozenset[str] = frozenset()
        self._writers = start_writers()
        self._readers = ThreadPoolExecutor(1)
        # Its own, since a reader may wait for room that only the file in hand can give.
        self._preparers = ThreadPoolExecutor(1)
        self._stopped = threading.Event()
        self._room = Room(MOST_AHEAD)
        self._unwritten: deque[Future] = deque()

    def __enter__(self) -> "Run":
        return self

    def __exit__(self, *_) -> None:
        self._stopped.set()
        self._room.close()
        for each in (self._readers, self._preparers):
            each.shutdown(cancel_futures=True)
        self._writers.shutdown(cancel_futures=True)

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
        failed, waiting = [], deque()
        self._names = frozenset(name for name, _ in images)
        todo = []
        for name, path in images[share]:
            try:
                todo += self._if_to_do(name, path)
            except OSError as error:  # as of a link to nowhere
                failed.append(self._failure(File(name, path, ""), error))
        ahead = read_ahead(self._readers, self._open, todo)
        for file, opened in progress(ahead, "file", len(todo)):
            try:
                first, others = opened.result()
                with self._room.left_by(first.nbytes):
                    waiting.append((file, *self._find(file, first, others)))
            except Exception as error:  # noqa: BLE001 one file must not stop the others
                failed.append(self._failure(file, error))
            while len(waiting) > AHEAD:
                failed += self._finish(*waiting.popleft())
        return failed + [reason for each in waiting for reason in self._finish(*each)]

    def _if_to_do(self, name: str, path: Path) -> list[File]:
        file = File(name, path, self._fingerprint(path))
        record = self.record(name)
        return [] if record and record["made_from"] == file.made_from else [file]

    def _open(self, file: File) -> tuple[Opened, list[Picture]]:
        """The first picture of a file, and the others."""
        first, *others = open_picture(file.name, file.path)
        self._check_names(file, [first, *others])
        opened = self._prepare(first)
        self._room.take(opened.nbytes)
        return opened, others

    def _prepare(self, picture: Picture) -> Opened:
        if self._pixel_size:
            picture = replace(picture, pixel_size=(self._pixel_size,) * 2)
        chosen = choose_channel(picture, self._channel)
        grey_range = self._predictor.grey_range(Slices(chosen, self._stopped))
        image = None
        if chosen.depth is None and max(chosen.size) <= self._tiling.whole:
            window = chosen.read(0, 0, *chosen.size)
            image = self._predictor.spread(window, grey_range)
        return Opened(picture, chosen, grey_range, image)

    def _check_names(self, file: File, pictures: list[Picture]) -> None:
        """
        Raises:
            ValueError: what is made of a file would have the name of another file's results.
        """
        names = {each.name for each in pictures} - {file.name}
        names |= {slice_name(p.name, z) for p in pictures for z in range(p.depth or 0)}
        for name in sorted(names & self._names):
            raise ValueError(f"{file.path}: a part of it has the name of another file, {name}")

    def _find(
        self, file: File, first: Opened, others: list[Picture]
    ) -> tuple[list[Future | dict], list[str]]:
        """Finds the nuclei of a file's pictures and hands them on to be written.

        Returns:
            Rows of `images.csv`, or the futures that give them; and the names of stacks.
        """
        (self.done / file.name / "record.json").unlink(missing_ok=True)
        done = {each.name: row for each in others if (row := self._row_of(file, each))}
        left = [each for each in others if each.name not in done]
        prepared = read_ahead(self._preparers, self._prepare, left)
        found: dict[str, list] = {name: [row] for name, row in done.items()}
        stacks = []
        for each in chain([first], (opened.result() for _, opened in prepared)):
            name = each.picture.name
            if each.chosen.depth is None:
                nuclei = self._nuclei(file, each, each.chosen)
                job = self._job(file, each, name, nuclei)
                found[name] = [self._write(replace(job, is_part=bool(others)))]
            else:
                found[name] = self._find_stack(file, each)
                stacks.append(name)
        names = [first.picture.name, *(each.name for each in others)]
        return [row for name in names for row in found[name]], stacks

    def _row_of(self, file: File, picture: Picture) -> dict | None:
        """Of a time point that an interrupted run has done."""
        record = read_record(self.done / file.name / f"{picture.name}.json")
        return record["row"] if record and record["made_from"] == file.made_from else None

    def _find_stack(self, file: File, each: Opened) -> list[Future | dict]:
        """Slice by slice; then the label image of the whole."""
        linker, rows, slices = SliceLinker(), [], []
        stack = each.picture.name
        for z in progress(range(each.chosen.depth), "slice"):
            nuclei = self._nuclei(file, each, each.chosen.at(Z=z))
            numbers = linker.link(nuclei)
            job = self._job(file, each, slice_name(stack, z), nuclei)
            picture, shown = job.picture.at(Z=z), job.shown.at(Z=z)
            job = replace(job, picture=picture, shown=shown, slice_number=z, numbers=numbers)
            rows.append(self._write(job))
            slices.append((nuclei, numbers))
        if "labels" in self._formats:
            path = self._output / "labels" / f"{stack}.tif"
            write_volume(path, slices, linker.count, each.picture)
        first = {"image": np.full(linker.count, stack, object).astype(str)}
        columns = measure_volumes(slices, linker.count, each.picture)
        write_part(self.done / file.name / f"{stack}.volumes.parquet", {**first, **columns})
        return rows

    def _nuclei(self, file: File, each: Opened, chosen: Picture) -> Nuclei:
        if each.image is not None:
            # Where each core waits for the slower one, a core less is faster beside a busy writer.
            self._predictor.use_cores(all_but=1)
            return self._predictor.find([each.image])[0]
        self._predictor.use_cores()

        def read(y: int, x: int, height: int, width: int) -> np.ndarray:
            return self._predictor.spread(chosen.read(y, x, height, width), each.grey_range)

        if max(chosen.size) <= self._tiling.whole:
            return self._predictor.find([read(0, 0, *chosen.size)])[0]
        place = "_".join(f"{axis}{at}" for axis, at in sorted(chosen.fixed.items())) or "all"
        store = TileStore(self.done / file.name / "tiles" / place, file.made_from)
        find = partial(look_at, read=read, size=chosen.size, find=self._predictor.find_whole)
        tiles = progress(divide(*chosen.size, self._tiling), "tile")
        found = (store.get(number, partial(find, tile)) for number, tile in enumerate(tiles))
        return stitch(chosen.size, found)

    def _job(self, file: File, each: Opened, name: str, nuclei: Nuclei) -> Job:
        return Job(
            name,
            each.picture,
            each.chosen,
            each.grey_range,
            nuclei,
            self._formats,
            self._output,
            self.done / file.name,
            file.made_from,
        )

    def _write(self, job: Job) -> Future | dict:
        """In the process that writes, but for what would be slow to hand over."""
        if job.picture.nbytes > SMALL:
            return write_image(job)
        job = replace(job, picture=job.picture.loaded(), shown=job.shown.loaded())
        while len(self._unwritten) > AHEAD:
            self._unwritten.popleft().exception()  # waits; it is told by `_finish`
        try:
            self._unwritten.append(self._writers.submit(write_image, job))
        except BrokenProcessPool:  # it was killed, and what it had to write has failed
            self._writers = start_writers()
            self._unwritten.append(self._writers.submit(write_image, job))
        return self._unwritten[-1]

    def _finish(self, file: File, rows: list[Future | dict], stacks: list[str]) -> list[str]:
        """Waits until a file is written, and records it."""
        try:
            done = [row.result() if isinstance(row, Future) else row for row in rows]
            record = {"made_from": file.made_from, "stacks": stacks, "images": done}
            path = self.done / file.name / "record.json"
            write_atomically(path, json.dumps(record) + "\n")
            shutil.rmtree(path.parent / "tiles", ignore_errors=True)
        except Exception as error:  # noqa: BLE001 as above
            return [self._failure(file, error)]
        return []

    def _failure(self, file: File, error: Exception) -> str:
        (self.done / file.name / "record.json").unlink(missing_ok=True)
        reason = str(error).strip() or type(error).__name__
        if isinstance(error, BrokenProcessPool):
            reason = "the process that writes was killed, as when memory is short; run it again"
        logger.debug("%s", reason, exc_info=error)
        return reason if str(file.path) in reason else f"{file.path}: {reason}"

    def _fingerprint(self, path: Path) -> str:
        """Of all that a file's results are made from; of a Zarr store all its files."""
        files = [path, *(path.rglob("*") if path.is_dir() else ())]
        states = [(str(f), f.stat().st_size, f.stat().st_mtime_ns) for f in sorted(files)]
        content = json.dumps([REVISION, states, self._asked, self._predictor.fingerprint])
        return hashlib.sha256(content.encode()).hexdigest()


def start_writers() -> ProcessPoolExecutor:
    """The process that measures and writes."""
    return ProcessPoolExecutor(1, mp_context=get_context("forkserver"), initializer=_begin_to_write)


def _begin_to_write() -> None:
    cv2.setNumThreads(1)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """A process that is killed cannot tell its writer."""
    parent_process().join()
    os._exit(1)


def slice_name(stack: str, z: int) -> str:
    """What a slice's results are called."""
    return f"{stack}_z{z:04d}"


class Slices:
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


def read_ahead(
    reader: ThreadPoolExecutor, read: Callable, items: Iterable
) -> Iterator[tuple[object, Future]]:
    """Items, and what was read of them some time before it is wanted."""
    ahead = deque()
    for item in items:
        ahead.append((item, reader.submit(read, item)))
        if len(ahead) > AHEAD:
            yield ahead.popleft()
    yield from ahead


def progress(what: Iterable, unit: str, total: int | None = None) -> tqdm:
    """A bar that goes when it is done; none where nobody watches."""
    return tqdm(what, unit=unit, total=total, leave=False, disable=not sys.stderr.isatty())
