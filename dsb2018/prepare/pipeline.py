"""Runs the preparation: input → records → datasets → COCO JSON and label files."""

import json
import logging
import os
import re
from collections import Counter
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from dsb2018.errors import InputError, UsageError
from dsb2018.io.files import staging_folder, write_atomically
from dsb2018.io.names import printable
from dsb2018.parent import end_with_parent
from dsb2018.prepare.coco_record import to_coco
from dsb2018.prepare.forms import Form, FormOptions, SourceImage, open_form
from dsb2018.prepare.image_records import ImageRecord, RecordReader
from dsb2018.prepare.image_store import ImageStore, can_stay
from dsb2018.prepare.solution import Solution
from dsb2018.prepare.splits import (
    ImageInfo,
    Splits,
    add_groups,
    random_splits,
    read_image_info,
    read_splits,
    subset_splits,
)
from dsb2018.progress import progress

logger = logging.getLogger(__name__)
REPORT = "report.txt"


@dataclass(frozen=True)
class Options:
    """Input, output and settings of a preparation.

    Args:
        input: folder or zip archive of images, or COCO JSON file beside its images.
        output: the prepared root.
        truth: folder or zip archive of the ground truth, or COCO JSON file; None: the ground truth
            is in the input, if there is any.
        form: key of `FORMS`; None: the form of the input is recognized.
        solution: CSV file with the ground truth of DSB2018's test images.
        label_values: meaning of the values of label images, see `LABEL_VALUES`; None: recognized.
        categories: names of the categories that are nuclei; empty: all.
        channel: index or name of the nuclear channel; None: the images have one channel or are RGB.
        splits: folder of id lists; None: one dataset `dsb2018_test` if the images have a solution
            or no ground truth; else one dataset for each of the folders `train`, `val` and `test`
            of the input; else one dataset if there is a `name`; else a random split.
        name: name of the datasets, after `dsb2018_`.
        modality: CSV file like `modality.csv`; None: no modality is written.
        group: regular expression: images for which it finds the same text in their id (or the same
            first group) stay together in a random split; None: the groups of `modality`, and any
            other image is a group of its own.
        val_fraction: fraction of validation images in a random split, between 0 and 1; None: 0.1.
        seed: of the random split.
        skip_bad: skip unusable images and list them in `report.txt`, instead of raising an error.
        workers: number of processes, at least 1.
        progress: show the progress.
    """

    input: str | os.PathLike
    output: str | os.PathLike
    truth: str | os.PathLike | None = None
    form: str | None = None
    solution: str | os.PathLike | None = None
    label_values: str | None = None
    categories: tuple[str, ...] = ()
    channel: str | None = None
    splits: str | os.PathLike | None = None
    name: str | None = None
    modality: str | os.PathLike | None = None
    group: str | None = None
    val_fraction: float | None = None
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
    """Prepares data for training; `datasets/README.md` describes the output folder.

    The same input gives the same bytes. All files are written to a staging folder and moved at the
    end, so an interrupted run leaves the previous output unchanged.

    Raises:
        FileNotFoundError: the input, truth, solution, splits or modality file does not exist.
        InputError: unusable data; with `skip_bad`, unusable images are skipped instead.
        UsageError: invalid options, or too few images for a random split.
    """
    form = _open(options)
    solution = Solution(options.solution) if options.solution else None
    images, notes = form.list_images()
    _check_ids(images, form.files.path)
    if solution:
        images, ignored_notes = _drop_ignored(images, solution)
        notes += ignored_notes
    has_ground_truth = solution is not None or any(image.truth is not None for image in images)
    info = read_image_info(options.modality) if options.modality else {}
    if options.group:
        info = add_groups(info, [image.image_id for image in images], options.group)
    splits, split_notes = _split(options, images, info, has_ground_truth)
    ids_in_splits = set().union(*splits.values())
    images = [image for image in images if image.image_id in ids_in_splits]
    output = Path(options.output)
    names = [name for image in images for name in image.image_files]
    keep = can_stay(form.files, names, options.channel)
    with staging_folder(output) as staging:
        for folder in ("labels", "images", "annotations"):
            (staging / folder).mkdir()
        store = ImageStore(staging, options.channel, keep)
        reader = RecordReader(form, solution, has_ground_truth, staging, options.skip_bad, store)
        records, read_notes = _read_records(reader, images, options)
        if not records:
            example = read_notes[0] if read_notes else "the lists name no image of the input"
            raise InputError(form.files.path, f"no usable image: {example}")
        image_root = _image_root(form.files.path, output) if keep else "."
        datasets = {}
        for name, ids in splits.items():
            dataset = [records[image_id] for image_id in ids if image_id in records]
            coco = to_coco(dataset, info, image_root, has_ground_truth)
            text = json.dumps(coco, separators=(",", ":"))
            (staging / "annotations" / f"{name}.json").write_text(text)
            datasets[name] = len(dataset), sum(not a["iscrowd"] for a in coco["annotations"])
            split_notes += _foreground_note(name, dataset)
        _publish(staging, output)
    notes = [printable(note) for note in (*notes, *split_notes, *read_notes)]
    for note in notes:
        logger.warning(note)
    write_atomically(output / REPORT, "".join(f"{note}\n" for note in notes))
    return PreparationResult(datasets, notes)


def _open(options: Options) -> Form:
    """Opens the input, after a check of options that would have no effect."""
    is_random = not options.splits and (options.val_fraction or not options.name)
    if options.group and not is_random:
        raise UsageError("--group is for a random split: pass --val-fraction, and no --splits")
    form_options = FormOptions(
        label_values=options.label_values,
        categories=options.categories,
        skip_bad=options.skip_bad,
    )
    truth = Path(options.truth) if options.truth else None
    return open_form(Path(options.input), truth, options.form, form_options, Path(options.output))


def _foreground_note(name: str, dataset: list[ImageRecord]) -> list[str]:
    """Returns a note if the single nuclei of some images of a dataset are not known, else []."""
    count = sum(record.foreground_only for record in dataset)
    text = "images have foreground masks only; they are not used for single nuclei"
    return [f"{name}: {count} {text}"] if count else []


def _check_ids(images: list[SourceImage], path: Path) -> None:
    """Raises `InputError` if several images have the same id."""
    counts = Counter(image.image_id for image in images)
    if counts and max(counts.values()) > 1:
        image_id, count = counts.most_common(1)[0]
        raise InputError(path, f"{count} images have the name {image_id}", "keep one of them")


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
    options: Options,
    images: list[SourceImage],
    info: dict[str, ImageInfo],
    has_ground_truth: bool,
) -> tuple[Splits, list[str]]:
    """Assigns image ids to datasets; returns them, and notes."""
    if options.name is not None and not re.fullmatch(r"[A-Za-z0-9_.-]{1,100}", options.name):
        raise UsageError(
            f"dataset name {options.name!r}, expected letters, digits, `_`, `.` and `-`, at most "
            "100 characters"
        )
    prefix = f"dsb2018_{options.name}" if options.name else "dsb2018"
    ids = sorted(image.image_id for image in images)
    if options.splits:
        return read_splits(options.splits, ids, prefix)
    if options.solution or not has_ground_truth:
        return {prefix if options.name else "dsb2018_test": ids}, []
    subsets = {image.image_id: image.subset for image in images}
    if any(subsets.values()):
        return subset_splits(subsets, info, options.val_fraction, options.seed, prefix), []
    if options.name and options.val_fraction is None:
        return {prefix: ids}, []
    return random_splits(ids, info, options.val_fraction, options.seed, prefix), []


def _read_records(
    reader: RecordReader, images: list[SourceImage], options: Options
) -> tuple[dict[str, ImageRecord], list[str]]:
    """Reads all images; returns the records by image id, and notes in the order of the ids."""
    # The largest images first, so that no process has to finish one of them alone at the end.
    order = sorted(images, key=lambda image: -len(image.truth or ()))
    results = _map(reader, order, options.workers)
    records, notes = {}, {}
    pairs = zip(order, results, strict=True)
    if options.progress:
        pairs = progress(pairs, "image", len(order))
    for image, (record, image_notes) in pairs:
        if record is not None:
            records[image.image_id] = record
        notes[image.image_id] = image_notes
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
