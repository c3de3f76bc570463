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

from dsb2018.files import write_atomically
from dsb2018.inference.formats.labels import write_volume
from dsb2018.inference.formats.table import write_part
from dsb2018.inference.nuclei import Nuclei
from dsb2018.inference.opening import File, Opened, Opener
from dsb2018.inference.pictures import Picture
from dsb2018.inference.resume import TileStore, delete_stores
from dsb2018.inference.stacks import SliceLinker, measure_volumes
from dsb2018.inference.stitching import divide, look_at, stitch
from dsb2018.inference.writers import Writer
from dsb2018.inference.writing import Job, part_names, place, read_part_record, read_record
from dsb2018.names import printable

logger = logging.getLogger(__name__)
REVISION = 2  # one more where this code gives other results or keeps them in another form
UNRECORDED = 3  # files whose results are not all written yet, at most


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
        self.done = output / ".done"
        self._opener, self._writer = Opener(predictor, channel, pixel_size), Writer()

    def __enter__(self) -> "Run":
        return self

    def __exit__(self, *_) -> None:
        self._opener.close()
        self._writer.close()
        self._predictor.use_cores()

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
        failed, todo, waiting = [], [], deque()
        names = frozenset(name for name, _ in images)
        for name, path in images[share]:
            try:
                todo += self._if_to_do(name, path)
            except OSError as error:  # as of a link to nowhere
                failed.append(self._failure(File(name, path, ""), error))
        for file, opened in progress(self._opener.files(todo), "file", len(todo)):
            try:
                first, others = opened.result()
                with self._opener.room.left_by(first.nbytes):
                    check_names(file, [first.picture, *others], names)
                    waiting.append((file, *self._find(file, first, others)))
            except Exception as error:  # noqa: BLE001 one file must not stop the others
                failed.append(self._failure(file, error))
            while len(waiting) > UNRECORDED:
                failed += self._finish(*waiting.popleft())
        return failed + [reason for each in waiting for reason in self._finish(*each)]

    def _if_to_do(self, name: str, path: Path) -> list[File]:
        file = File(name, path, self._fingerprint(path))
        record = self.record(name)
        is_same = record is not None and record["made_from"] == file.made_from
        return [] if is_same and self._has_files(name, record) else [file]

    def _has_files(self, name: str, record: dict) -> bool:
        """Whether all that was written is still there."""
        folder = self.done / name
        if not all((folder / part).is_file() for part in part_names(record, self._formats)):
            return False
        images = [row["image"] for row in record["images"]]
        flat = [row["image"] for row in record["images"] if "slice" not in row]
        names = {"labels": [*flat, *record["stacks"]], "overlay": images, "geojson": images}
        return all(
            _has_content(place(self._output, kind, name))
            for kind in names
            if kind in self._formats
            for name in names[kind]
        )

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
        found: dict[str, list] = {name: [row] for name, row in done.items()}
        stacks = []
        for each in chain([first], self._opener.pictures(left)):
            name = each.picture.name
            if each.chosen.depth is None:
                nuclei = self._nuclei(file, each, each.chosen)
                job = self._job(file, each, name, nuclei)
                found[name] = [self._writer.write(replace(job, is_part=bool(others)))]
            else:
                found[name] = self._find_stack(file, each)
                stacks.append(name)
        names = [first.picture.name, *(each.name for each in others)]
        return [row for name in names for row in found[name]], stacks

    def _row_of(self, file: File, picture: Picture) -> dict | None:
        """Of a time point that an interrupted run has done."""
        record = read_part_record(self.done / file.name / f"{picture.name}.json")
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
            rows.append(self._writer.write(job))
            slices.append((nuclei, numbers))
        if "labels" in self._formats:
            path = place(self._output, "labels", stack)
            write_volume(path, slices, linker.count, each.picture)
        first = {"image": np.full(linker.count, stack, object).astype(str)}
        columns = measure_volumes(slices, linker.count, each.picture)
        write_part(self.done / file.name / f"{stack}.volumes.parquet", {**first, **columns})
        return rows

    def _nuclei(self, file: File, each: Opened, chosen: Picture) -> Nuclei:
        is_small = max(chosen.size) <= self._tiling.whole
        # Where each core waits for the slower one, a core less is faster beside a busy writer.
        self._predictor.use_cores(all_but=1 if is_small else 0)
        if each.image is not None:
            return self._predictor.find([each.image])[0]

        def read(y: int, x: int, height: int, width: int) -> np.ndarray:
            return self._predictor.spread(chosen.read(y, x, height, width), each.grey_range)

        if is_small:
            return self._predictor.find([read(0, 0, *chosen.size)])[0]
        held = "_".join(f"{axis}{at}" for axis, at in sorted(chosen.fixed.items())) or "all"
        store = TileStore(self.done / file.name / "tiles" / held, file.made_from)
        find = partial(look_at, read=read, size=chosen.size, find=self._predictor.find_whole)
        tiles = divide(*chosen.size, self._tiling)
        tiles = [tile for tile in tiles if not chosen.is_absent(*tile.window)]
        # What is found is read again at the end: small objects that stay, between large ones that
        # go, would leave the memory of each tile in pieces too small for the next (2 GB in 200).
        for number, tile in enumerate(progress(tiles, "tile")):
            store.keep(number, partial(find, tile))
        found = (store.read(number, partial(find, tile)) for number, tile in enumerate(tiles))
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

    def _finish(self, file: File, rows: list[Future | dict], stacks: list[str]) -> list[str]:
        """Waits until a file is written, and records it."""
        try:
            done = [row.result() if isinstance(row, Future) else row for row in rows]
            record = {"made_from": file.made_from, "stacks": stacks, "images": done}
            path = self.done / file.name / "record.json"
            write_atomically(path, json.dumps(record) + "\n")
            delete_stores(path.parent / "tiles")
        except Exception as error:  # noqa: BLE001 as above
            return [self._failure(file, error)]
        return []

    def _failure(self, file: File, error: Exception) -> str:
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
        content = json.dumps([REVISION, states, self._asked, self._predictor.fingerprint])
        return hashlib.sha256(content.encode()).hexdigest()


def _has_content(path: Path) -> bool:
    return path.is_file() and path.stat().st_size > 0


def check_names(file: File, pictures: Iterable[Picture], taken: frozenset[str]) -> None:
    """
    Raises:
        ValueError: what is made of a file would have the name of another file's results.
    """
    names = {each.name for each in pictures} - {file.name}
    names |= {slice_name(each.name, z) for each in pictures for z in range(each.depth or 0)}
    for name in sorted(names & taken):
        raise ValueError(f"{file.path}: a part of it has the name of another file, {name}")


def slice_name(stack: str, z: int) -> str:
    """What a slice's results are called."""
    return f"{stack}_z{z:04d}"


def progress(what: Iterable, unit: str, total: int | None = None) -> tqdm:
    """A bar that goes when it is done; none where nobody watches."""
    return tqdm(what, unit=unit, total=total, leave=False, disable=not sys.stderr.isatty())
