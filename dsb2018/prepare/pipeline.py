"""Runs the preparation: source → records → splits → COCO JSON and label files."""

import json
import logging
import os
import re
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from tqdm import tqdm

from dsb2018.errors import InputError, UsageError
from dsb2018.io.files import staging_folder, write_atomically
from dsb2018.io.names import printable
from dsb2018.parent import end_with_parent
from dsb2018.prepare.coco_record import to_coco
from dsb2018.prepare.image_records import ImageRecord, RecordReader
from dsb2018.prepare.solution import Solution
from dsb2018.prepare.source import FolderSource, SourceImage, open_source
from dsb2018.prepare.splits import ImageInfo, Splits, random_splits, read_image_info, read_splits

logger = logging.getLogger(__name__)
REPORT = "report.txt"


@dataclass(frozen=True)
class Options:
    """Input, output and settings of a preparation.

    Args:
        input: DSB folder or zip archive.
        output: the prepared root.
        solution: CSV file with the ground truth of test images; None: the ground truth comes from
            mask files, if there are any.
        splits: folder of id lists; None: a random split, or one dataset `dsb2018_test` if the
            images have a solution or no ground truth.
        name: put all images into one dataset, `dsb2018_NAME`; excludes `splits`.
        modality: CSV file like `modality.csv`; None: each image is a group of its own, and no
            modality is written.
        val_fraction: fraction of validation images in a random split, between 0 and 1.
        seed: of the random split.
        skip_bad: skip unusable images and list them in `report.txt`, instead of raising an error.
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
class PreparationResult:
    """The prepared datasets.

    Args:
        datasets: number of images and number of nuclei, by dataset name.
        notes: the lines of `report.txt`.
    """

    datasets: dict[str, tuple[int, int]]
    notes: list[str]


def prepare(options: Options) -> PreparationResult:
    """Prepares DSB data for training; `datasets/README.md` describes the output folder.

    The same input gives the same bytes. All files are written to a staging folder and moved at the
    end, so an interrupted run leaves the previous output unchanged.

    Raises:
        FileNotFoundError: the input, solution, splits or modality file does not exist.
        InputError: unusable data; with `skip_bad`, unusable images are skipped instead.
        UsageError: invalid options, or too few images for a random split.
    """
    source = open_source(options.input)
    info = read_image_info(options.modality) if options.modality else {}
    solution = Solution(options.solution) if options.solution else None
    images = source.list_images()
    notes = []
    if solution:
        images, notes = _drop_ignored(images, solution)
    has_ground_truth = solution is not None or any(image.mask_files is not None for image in images)
    image_ids = [image.image_id for image in images]
    splits, split_notes = _split(options, image_ids, info, has_ground_truth)
    ids_in_splits = set().union(*splits.values())
    images = [image for image in images if image.image_id in ids_in_splits]
    output = Path(options.output)
    from_folder = isinstance(source, FolderSource)
    with staging_folder(output) as staging:
        for folder in ("labels", "images", "annotations"):
            (staging / folder).mkdir()
        reader = RecordReader(
            source, solution, has_ground_truth, staging, options.skip_bad, not from_folder
        )
        records, read_notes = _read_records(reader, images, options)
        image_root = _image_root(source.path, output) if from_folder else "."
        datasets = {}
        for name, ids in splits.items():
            dataset = [records[image_id] for image_id in ids if image_id in records]
            coco = to_coco(dataset, info, image_root, has_ground_truth)
            text = json.dumps(coco, separators=(",", ":"))
            (staging / "annotations" / f"{name}.json").write_text(text)
            datasets[name] = len(dataset), len(coco["annotations"])
        _publish(staging, output)
    source.close()
    notes = [printable(note) for note in (*notes, *split_notes, *read_notes)]
    for note in notes:
        logger.warning(note)
    write_atomically(output / REPORT, "".join(f"{note}\n" for note in notes))
    return PreparationResult(datasets, notes)


def _drop_ignored(
    images: list[SourceImage], solution: Solution
) -> tuple[list[SourceImage], list[str]]:
    """Drops the images that the solution marks Ignored; returns the others, and a note.

    Does not check that each of the other images has a row: `Solution.crops` does.
    """
    unknown = solution.image_ids - {image.image_id for image in images}
    if unknown:
        raise InputError(
            solution.path,
            f"{len(unknown)} image ids are not in the input, for example {min(unknown)}",
            "check that the solution belongs to these images",
        )
    scored = [image for image in images if image.image_id not in solution.ignored]
    ignored = len(images) - len(scored)
    notes = [f"{solution.path}: {ignored} images are marked Ignored and were skipped"]
    return scored, notes if ignored else []


def _split(
    options: Options, ids: list[str], info: dict[str, ImageInfo], has_ground_truth: bool
) -> tuple[Splits, list[str]]:
    """Assigns image ids to datasets; returns them, and notes."""
    if options.splits and options.name:
        raise UsageError("splits and name exclude each other; pass only one of them")
    if options.splits:
        splits, notes = read_splits(options.splits, ids)
        unused = len(set(ids) - set().union(*splits.values()))
        if unused:
            notes.append(f"{options.splits}: {unused} images are in no list and were skipped")
        return splits, notes
    if options.name is not None and not re.fullmatch(r"[A-Za-z0-9_.-]{1,100}", options.name):
        raise UsageError(
            f"dataset name {options.name!r}, expected letters, digits, `_`, `.` and `-`, at most "
            "100 characters"
        )
    if options.name or options.solution or not has_ground_truth:
        return {f"dsb2018_{options.name or 'test'}": sorted(ids)}, []
    return random_splits(ids, info, options.val_fraction, options.seed), []


def _read_records(
    reader: RecordReader, images: list[SourceImage], options: Options
) -> tuple[dict[str, ImageRecord], list[str]]:
    """Reads all images; returns the records by image id, and notes in the order of the ids."""
    # The largest images first, so that no process has to finish one of them alone at the end.
    order = sorted(images, key=lambda image: -len(image.mask_files or ()))
    results = _map(reader, order, options.workers)
    records, notes = {}, {}
    with tqdm(
        total=len(order), desc="Preparing", unit="image", disable=not options.progress
    ) as progress:
        for image, (record, image_notes) in zip(order, results, strict=True):
            if record is not None:
                records[image.image_id] = record
            notes[image.image_id] = image_notes
            progress.update()
    return records, [note for image_id in sorted(notes) for note in notes[image_id]]


def _map(reader: RecordReader, images: list[SourceImage], workers: int) -> Iterable:
    if workers <= 1:
        yield from map(reader, images)
        return
    with ProcessPoolExecutor(workers, initializer=_set_reader, initargs=(reader,)) as pool:
        try:
            yield from pool.map(_read_image, images, chunksize=4)
        except BaseException:
            pool.shutdown(wait=True, cancel_futures=True)
            raise


_reader: Callable | None = None


def _set_reader(reader: RecordReader) -> None:
    """Initializes a worker process."""
    global _reader
    end_with_parent()
    _reader = reader.reopened()


def _read_image(image: SourceImage) -> tuple[ImageRecord | None, list[str]]:
    return _reader(image)


def _image_root(images: Path, output: Path) -> str:
    """Returns the image folder, relative to the prepared root if inside it, else absolute.

    A relative path stays valid when the prepared root is moved.
    """
    images, output = images.resolve(), output.resolve()
    return str(images.relative_to(output)) if images.is_relative_to(output) else str(images)


def _publish(staging: Path, output: Path) -> None:
    """Moves the complete files to the output folder.

    The annotations are moved last, because they refer to the other files.
    """
    for folder in ("images", "labels", "annotations"):
        (output / folder).mkdir(exist_ok=True)
        for path in sorted((staging / folder).iterdir()):
            os.replace(path, output / folder / path.name)
        if not any((output / folder).iterdir()):
            (output / folder).rmdir()
