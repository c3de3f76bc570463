"""What `tools/predict.py` does: files in, nuclei out, one file after the other, or several at once.

Reading ahead is done by a thread, measuring and writing by another process, so the network waits
for neither. What is done is recorded, and a run that was interrupted goes on behind it.
"""

import argparse
import hashlib
import json
import logging
import sys
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import replace
from multiprocessing import get_context
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
from dsb2018.inference.pictures import Picture, choose_channel
from dsb2018.inference.readers import find_images, open_picture
from dsb2018.inference.resume import TileStore
from dsb2018.inference.stacks import SliceLinker, measure_volumes
from dsb2018.inference.stitching import Tiling, divide, look_at, stitch
from dsb2018.inference.writing import FORMATS, Job, join, read_record, write_image

logger = logging.getLogger(__name__)
# What a file or its writing can raise; readers turn whatever a library raises into ValueError.
FAILURES = (OSError, ValueError, MemoryError, RuntimeError)
AHEAD = 4  # files that are read, and images that wait to be written, at most


class Opened(NamedTuple):
    """A picture, and the channel of it that the model sees, prepared as far as memory allows.

    Args:
        picture: with all channels.
        chosen: what nuclei are looked for in.
        grey_range: of the chosen one.
        image: (H, W, 3) uint8, of one that is small and no stack; else None.
    """

    picture: Picture
    chosen: Picture
    grey_range: GreyRange
    image: np.ndarray | None


class Summary(NamedTuple):
    """What became of a run.

    Args:
        files: that were asked for.
        done: of these, in this run or before.
        nuclei: in all of them.
        failed: a line for each file that failed.
        written: files for all images together.
    """

    files: int
    done: int
    nuclei: int
    failed: list[str]
    written: list[Path]


def argument_parser(epilog: str | None = None) -> argparse.ArgumentParser:
    """The command's arguments."""
    parser = argparse.ArgumentParser(
        epilog=epilog, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--input", nargs="+", required=True, metavar="PATH", help="files, folders, patterns")
    add("--output", type=Path, required=True, metavar="DIR")
    add("--config-file", help="of the model (default: the light U-Net of the package)")
    add(
        "--format",
        nargs="+",
        choices=FORMATS,
        default=["labels", "overlay"],
        help="what is written beside the tables (default: labels overlay)",
    )
    add("--crops", action="store_true", help="also a picture of each nucleus")
    add("--channel", help="that the nuclei are in: a number from 0, or its name in the file")
    add("--pixel-size", type=float, metavar="UM", help="edge of a pixel, micrometres")
    add("--tile", type=int, default=Tiling.edge, help="edge of tiles of large images, pixels")
    add("--overlap", type=int, default=Tiling.margin, help="more than nuclei are wide, pixels")
    add("--backend", choices=("torch", "onnxruntime"), default="torch")
    add("opts", nargs=argparse.REMAINDER, metavar="KEY VALUE", help="overrides of the config")
    return parser


def predict(args: argparse.Namespace) -> Summary | None:
    """Runs the command; None in other processes than the main one.

    Raises:
        FileNotFoundError: no such input, config or weights.
        ValueError: unusable arguments.
    """
    # What needs torch; the processes that write import this module too, and do without.
    from detectron2.utils import comm

    from dsb2018.config import read_config
    from dsb2018.engine.processes import process_group
    from dsb2018.inference.predictor import Predictor, find_model

    formats = [*args.format, *(["crops"] if args.crops else [])]
    tiling = Tiling(args.tile, args.overlap, whole=max(args.tile, Tiling.whole))
    images = find_images(args.input)
    config, weights = find_model(args.config_file, args.opts)
    with process_group(read_config(config, args.opts).MODEL.DEVICE):
        predictor = Predictor(
            config, weights, options=args.opts, backend=args.backend, tiling=tiling
        )
        with Run(predictor, args, formats, tiling) as run:
            failed = run.work_on(images[comm.get_rank() :: comm.get_world_size()])
        failed = [reason for part in comm.gather(failed) for reason in part]
        if not comm.is_main_process():
            return None
    records = [record for name, _ in images if (record := run.record(name))]
    written = join(args.output, records, formats)
    nuclei = sum(row["nuclei"] for record in records for row in record["images"])
    return Summary(len(images), len(records), nuclei, failed, written)


class Run:
    """One process's share of a run."""

    def __init__(self, predictor, args: argparse.Namespace, formats: list[str], tiling: Tiling):
        self._predictor, self._args, self._formats, self._tiling = predictor, args, formats, tiling
        self._done = args.output / ".done"
        self._writers = ProcessPoolExecutor(
            1, mp_context=get_context("forkserver"), initializer=cv2.setNumThreads, initargs=(1,)
        )
        self._readers = ThreadPoolExecutor(1)

    def __enter__(self) -> "Run":
        return self

    def __exit__(self, *_) -> None:
        self._readers.shutdown(cancel_futures=True)
        self._writers.shutdown(cancel_futures=True)

    def record(self, name: str) -> dict | None:
        """What was recorded of a file that was done in this run or one like it before."""
        return read_record(self._done / name / "record.json")

    def work_on(self, images: list[tuple[str, Path]]) -> list[str]:
        """Finds and writes the nuclei of files.

        Returns:
            What went wrong, a line for each file that failed.
        """
        failed, waiting = [], deque()
        todo = [(name, path) for name, path in images if not self._is_done(name, path)]
        for name, path, opened in progress(self._read_ahead(todo), "file", len(todo)):
            try:
                self._find(name, path, opened.result(), waiting)
            except FAILURES as error:
                failed.append(self._failure(name, path, error))
            while len(waiting) > AHEAD:
                failed += self._finish(*waiting.popleft())
        while waiting:
            failed += self._finish(*waiting.popleft())
        return failed

    def _read_ahead(self, images: list[tuple[str, Path]]) -> Iterator[tuple[str, Path, Future]]:
        """Files, read some time before they are wanted."""
        ahead = deque()
        for name, path in images:
            ahead.append((name, path, self._readers.submit(self._open, name, path)))
            if len(ahead) > AHEAD:
                yield ahead.popleft()
        yield from ahead

    def _is_done(self, name: str, path: Path) -> bool:
        record = self.record(name)
        return bool(record) and record["made_from"] == self._fingerprint(path)

    def _open(self, name: str, path: Path) -> list[Opened]:
        opened = []
        for picture in open_picture(name, path):
            if self._args.pixel_size:
                picture = replace(picture, pixel_size=(self._args.pixel_size,) * 2)
            chosen = choose_channel(picture, self._args.channel)
            grey_range = self._predictor.grey_range(_windows(chosen))
            image = None
            if chosen.depth is None and max(chosen.size) <= self._tiling.whole:
                window = chosen.read(0, 0, *chosen.size)
                image = self._predictor.spread(window, grey_range)
            opened.append(Opened(picture, chosen, grey_range, image))
        return opened

    def _find(self, name: str, path: Path, pictures: list[Opened], waiting: deque) -> None:
        """Finds the nuclei of a file's pictures and hands them on to be written."""
        parts = self._done / name
        (parts / "record.json").unlink(missing_ok=True)
        rows: list = []
        for each in pictures:
            if each.chosen.depth is not None:
                rows += self._find_stack(each, parts)
                continue
            nuclei = self._nuclei(each, each.chosen, parts)
            job = self._job(each, each.picture.name, nuclei, parts)
            rows.append(
                self._writers.submit(write_image, job)
                if each.picture.is_in_memory
                else write_image(job)  # an open file stays in its process
            )
        is_stack = any(each.chosen.depth is not None for each in pictures)
        waiting.append((name, path, rows, is_stack))

    def _find_stack(self, each: Opened, parts: Path) -> list[dict]:
        """Slice by slice; then the label image of the whole."""
        linker, rows, slices = SliceLinker(), [], []
        for z in tqdm(
            range(each.chosen.depth), unit="slice", leave=False, disable=not sys.stderr.isatty()
        ):
            nuclei = self._nuclei(each, each.chosen.at(Z=z), parts)
            numbers = linker.link(nuclei)
            name = f"{each.picture.name}_z{z:04d}"
            job = self._job(each, name, nuclei, parts)
            job = replace(
                job,
                picture=job.picture.at(Z=z),
                shown=job.shown.at(Z=z),
                slice_number=z,
                numbers=numbers,
            )
            rows.append(write_image(job))
            slices.append((nuclei, numbers))
        if "labels" in self._formats:
            planes = (np.concatenate([[0], m]).astype(np.int32)[n.labels] for n, m in slices)
            path = self._args.output / "labels" / f"{each.picture.name}.tif"
            write_volume(path, planes, linker.count, each.picture)
        columns = measure_volumes(slices, linker.count, each.picture)
        first = {"image": np.full(linker.count, each.picture.name, object).astype(str)}
        write_part(parts / "volumes.parquet", {**first, **columns})
        return rows

    def _nuclei(self, each: Opened, chosen: Picture, parts: Path) -> Nuclei:
        if each.image is not None:
            return self._predictor.find([each.image])[0]

        def read(y: int, x: int, height: int, width: int) -> np.ndarray:
            return self._predictor.spread(chosen.read(y, x, height, width), each.grey_range)

        if max(chosen.size) <= self._tiling.whole:
            return self._predictor.find([read(0, 0, *chosen.size)])[0]
        tiles = divide(*chosen.size, self._tiling)
        store = TileStore(parts / "tiles", self._fingerprint(chosen.path) + str(chosen.fixed))
        bar = tqdm(tiles, unit="tile", leave=False, disable=not sys.stderr.isatty())
        found = (
            store.get(
                n, lambda tile=tile: look_at(tile, read, chosen.size, self._predictor.find_whole)
            )
            for n, tile in enumerate(bar)
        )
        nuclei = stitch(chosen.size, found)
        store.remove()
        return nuclei

    def _job(self, each: Opened, name: str, nuclei: Nuclei, parts: Path) -> Job:
        return Job(
            name,
            each.picture,
            each.chosen,
            each.grey_range,
            nuclei,
            self._formats,
            self._args.output,
            parts,
        )

    def _finish(self, name: str, path: Path, rows: list, is_stack: bool) -> list[str]:
        """Waits until a file is written, and records it."""
        try:
            done = [row.result() if isinstance(row, Future) else row for row in rows]
        except FAILURES as error:
            return [self._failure(name, path, error)]
        record = {
            "made_from": self._fingerprint(path),
            "parts": str(self._done / name),
            "is_stack": is_stack,
            "images": done,
        }
        write_atomically(self._done / name / "record.json", json.dumps(record) + "\n")
        return []

    def _failure(self, name: str, path: Path, error: Exception) -> str:
        (self._done / name / "record.json").unlink(missing_ok=True)
        reason = str(error).strip() or type(error).__name__
        reason = reason if str(path) in reason else f"{path}: {reason}"
        logger.debug("%s", reason, exc_info=error)
        return reason

    def _fingerprint(self, path: Path) -> str:
        """Of all that a file's results are made from."""
        files = [path, *(path.glob("*") if path.is_dir() else ())]
        states = [(str(f), f.stat().st_size, f.stat().st_mtime_ns) for f in sorted(files)]
        asked = {k: str(v) for k, v in vars(self._args).items() if k not in ("input", "output")}
        content = json.dumps([states, asked, self._predictor.fingerprint])
        return hashlib.sha256(content.encode()).hexdigest()


def progress(what: Iterable, unit: str, total: int | None = None) -> tqdm:
    """A bar that goes when it is done; none where nobody watches."""
    return tqdm(what, unit=unit, total=total, leave=False, disable=not sys.stderr.isatty())


def _windows(picture: Picture) -> Iterable[np.ndarray]:
    """All windows of an image, or of all slices of a stack."""
    if picture.depth is None:
        return picture.windows()
    return _Chain([picture.at(Z=z).windows() for z in range(picture.depth)])


class _Chain:
    """Iterables one after the other, again and again."""

    def __init__(self, parts: list):
        self._parts = parts

    def __iter__(self) -> Iterator[np.ndarray]:
        for part in self._parts:
            yield from part
