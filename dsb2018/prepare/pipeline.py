"""The preparation as a whole: source → records → splits → COCO JSON and label files."""

import json
import logging
import os
import re
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from tqdm import tqdm

from dsb2018.errors import UsageError
from dsb2018.io.files import staging_folder, write_atomically
from dsb2018.io.names import printable
from dsb2018.parent import end_with_parent
from dsb2018.prepare.coco_record import to_coco
from dsb2018.prepare.errors import BadInput
from dsb2018.prepare.records import Reader, Record
from dsb2018.prepare.solution import Solution
from dsb2018.prepare.source import Entry, FolderSource, open_source
from dsb2018.prepare.splits import ImageInfo, Splits, draw_splits, read_image_info, read_splits

logger = logging.getLogger(__name__)
REPORT = "report.txt"


@dataclass(frozen=True)
class Options:
    """What to prepare, and how.

    Args:
        input: DSB folder or zip archive.
        output: the prepared root.
        solution: CSV with the truth of test images; None: mask files, or no truth at all.
        splits: folder of id lists; None: a seeded draw, or all to `dsb2018_test` where the images
            come with a solution or without truth.
        name: put all images into this one dataset (`dsb2018_NAME`) in place of splits.
        modality: `modality.csv`; None: no modality, each image a group of its own.
        val_fraction: share of validation images in a seeded draw, between 0 and 1.
        seed: of that draw.
        skip_bad: leave out bad images with a line in `report.txt`, in place of stopping.
        workers: number of processes, at least 1.
        progress: show a progress bar.
    """

    input: str | os.PathLike
    output: str | os.PathLike
    solution: str | os.PathLike | None = None
    splits: str | os.PathLike | None = None
    name: str | None = None
    modality: str | os.PathLike | None = None
    val_fraction: float = 0.1
    seed: int = 0
    skip_bad: bool = False
    workers: int = field(default_factory=lambda: os.cpu_count() or 1)
    progress: bool = True


@dataclass(frozen=True)
class Prepared:
    """What came out: number of images and nuclei by dataset, and what was worth a note."""

    datasets: dict[str, tuple[int, int]]
    notes: list[str]


def prepare(options: Options) -> Prepared:
    """Prepares DSB data for training; see `datasets/README.md` for the tree that it writes.

    The same input gives the same bytes. Everything is made in a folder of its own and moved at
    the end, so a run that is stopped leaves what was there before.

    Raises:
        FileNotFoundError: input, solution, splits or modality file are not there.
        BadInput: data that cannot be used; without `skip_bad` the first bad file, too.
        ValueError: options that exclude each other, or too few images for a drawn split.
    """
    source = open_source(options.input)
    info = read_image_info(options.modality) if options.modality else {}
    solution = Solution(options.solution) if options.solution else None
    entries = source.entries()
    notes = []
    if solution:
        entries, notes = _scored_entries(entries, solution)
    has_truth = solution is not None or any(entry.masks is not None for entry in entries)
    splits, found = _divide(options, [entry.image_id for entry in entries], info, has_truth)
    notes += found
    wanted = set().union(*splits.values())
    entries = [entry for entry in entries if entry.image_id in wanted]
    output = Path(options.output)
    from_folder = isinstance(source, FolderSource)
    with staging_folder(output) as staging:
        for folder in ("labels", "images", "annotations"):
            (staging / folder).mkdir()
        reader = Reader(source, solution, has_truth, staging, options.skip_bad, not from_folder)
        records, found = _read_all(reader, entries, options)
        notes += found
        image_root = _image_root(source.path, output) if from_folder else "."
        datasets = {}
        for name, ids in splits.items():
            chosen = [records[image_id] for image_id in ids if image_id in records]
            coco = to_coco(chosen, info, image_root, has_truth)
            text = json.dumps(coco, separators=(",", ":"))
            (staging / "annotations" / f"{name}.json").write_text(text)
            datasets[name] = len(chosen), len(coco["annotations"])
        _publish(staging, output)
    source.close()
    notes = [printable(note) for note in notes]
    for note in notes:
        logger.warning(note)
    write_atomically(output / REPORT, "".join(f"{note}\n" for note in notes))
    return Prepared(datasets, notes)


def _scored_entries(entries: list[Entry], solution: Solution) -> tuple[list[Entry], list[str]]:
    """The entries without those that the solution ignores, and a note of these. Whether each of
    the others has a row is asked later, image by image."""
    absent = solution.image_ids - {entry.image_id for entry in entries}
    if absent:
        found = f"{len(absent)} ids of no image, the first is {min(absent)}"
        raise BadInput(solution.path, found, "is it the solution of these images?")
    scored = [entry for entry in entries if entry.image_id not in solution.ignored]
    ignored = len(entries) - len(scored)
    notes = [f"{solution.path}: {ignored} images are marked Ignored, and were left out"]
    return scored, notes if ignored else []


def _divide(
    options: Options, ids: list[str], info: dict[str, ImageInfo], has_truth: bool
) -> tuple[Splits, list[str]]:
    if options.splits and options.name:
        raise UsageError("splits and name exclude each other: one dataset, or those of the lists")
    if options.splits:
        splits, notes = read_splits(options.splits, ids)
        unused = len(set(ids) - set().union(*splits.values()))
        if unused:
            notes.append(f"{options.splits}: {unused} images are in no list, and were left out")
        return splits, notes
    if options.name is not None and not re.fullmatch(r"[A-Za-z0-9_.-]{1,100}", options.name):
        raise UsageError(f"dataset name {options.name!r}, expected letters, digits, and any of _.-")
    if options.name or options.solution or not has_truth:
        return {f"dsb2018_{options.name or 'test'}": sorted(ids)}, []
    return draw_splits(ids, info, options.val_fraction, options.seed), []


def _read_all(
    reader: Reader, entries: list[Entry], options: Options
) -> tuple[dict[str, Record], list[str]]:
    # The largest first: no process is left with a long one at the end.
    order = sorted(entries, key=lambda entry: -len(entry.masks or ()))
    records, notes = {}, {}
    with tqdm(
        total=len(order), desc="Preparing", unit="image", disable=not options.progress
    ) as progress:
        for entry, (record, found) in zip(order, _map(reader, order, options.workers), strict=True):
            if record is not None:
                records[entry.image_id] = record
            notes[entry.image_id] = found
            progress.update()
    return records, [note for image_id in sorted(notes) for note in notes[image_id]]


def _map(reader: Reader, entries: list[Entry], workers: int) -> Iterable:
    if workers <= 1:
        yield from map(reader, entries)
        return
    with ProcessPoolExecutor(workers, initializer=_set_reader, initargs=(reader,)) as pool:
        try:
            yield from pool.map(_read_one, entries, chunksize=4)
        except BaseException:
            pool.shutdown(wait=True, cancel_futures=True)
            raise


_reader: Callable | None = None


def _set_reader(reader: Reader) -> None:
    """In each process: keeps the reader; an archive is opened anew, its file cannot be shared."""
    global _reader
    end_with_parent()
    _reader = reader.reopened()


def _read_one(entry: Entry):
    return _reader(entry)


def _image_root(images: Path, output: Path) -> str:
    """Where the images lie: relative to the prepared root if inside it, so that it can be moved."""
    images, output = images.resolve(), output.resolve()
    return str(images.relative_to(output)) if images.is_relative_to(output) else str(images)


def _publish(staging: Path, output: Path) -> None:
    """Moves what is complete into its place; the annotations last, since they name the others."""
    for folder in ("images", "labels", "annotations"):
        (output / folder).mkdir(exist_ok=True)
        for path in sorted((staging / folder).iterdir()):
            os.replace(path, output / folder / path.name)
        if not any((output / folder).iterdir()):
            (output / folder).rmdir()
