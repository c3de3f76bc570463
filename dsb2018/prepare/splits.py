"""Which image goes to which dataset: lists of ids, or a seeded draw that keeps groups whole.

A file `NAME.txt` of a folder of splits names the images of dataset `dsb2018_NAME`, one id a line;
`#` starts a comment. A second word `optional` marks an id that some releases of the data lack.
Lists whose names differ in their last word only (`stardist_train`, `stardist_test`) are parts of
one division and share no image.
"""

import csv
import os
import random
from collections import defaultdict
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from dsb2018.errors import UsageError
from dsb2018.io.files import read_file
from dsb2018.prepare.errors import BadInput

Splits = dict[str, list[str]]  # dataset name → image ids, sorted


@dataclass(frozen=True)
class ImageInfo:
    """What is known of an image beside its pixels."""

    modality: str
    group: str


def read_image_info(path: str | os.PathLike) -> dict[str, ImageInfo]:
    """Reads `modality.csv`: columns `image_id`, `modality`, `group`, and any others.

    Raises:
        FileNotFoundError: there is no such file.
        BadInput: a column or cell is missing, or an id is listed twice.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(
            f"{path}: no such regular file (expected a CSV with image_id, modality, group)"
        )
    try:
        with open(path, newline="", encoding="utf-8-sig") as file:
            return _read_image_info(path, csv.DictReader(file))
    except (UnicodeDecodeError, csv.Error) as error:
        raise BadInput(path, f"not a text file: {error}", "expected a CSV") from error


def _read_image_info(path: str | os.PathLike, reader: csv.DictReader) -> dict[str, ImageInfo]:
    columns = {"image_id", "modality", "group"}
    missing = columns - set(reader.fieldnames or ())
    if missing:
        raise BadInput(path, f"columns {sorted(missing)} missing")
    info = {}
    for row in reader:
        if any(row[column] is None for column in columns):
            raise BadInput(f"{path}:{reader.line_num}", "fewer cells than the header", "mend it")
        if row["image_id"] in info:
            raise BadInput(path, f"image id {row['image_id']} is listed twice")
        info[row["image_id"]] = ImageInfo(row["modality"], row["group"])
    return info


def read_splits(folder: str | os.PathLike, known: Collection[str]) -> tuple[Splits, list[str]]:
    """Reads the lists of a folder.

    Args:
        folder: holds `*.txt`, one list a file.
        known: ids of the images there are.

    Returns:
        Dataset names and their ids, and one line for each list with optional ids that are absent.

    Raises:
        FileNotFoundError: no list in the folder.
        BadInput: an id is listed twice, is in two parts of one division, or is not known; or a list
            is not a text file.
    """
    files = sorted(Path(folder).glob("*.txt"))
    if not files:
        raise FileNotFoundError(f"{folder}: no split list in it (expected train.txt, val.txt, …)")
    known = set(known)
    splits: Splits = {}
    notes = []
    owners: dict[tuple[str, str], Path] = {}
    for path in files:
        ids, optional = _read_list(path)
        division = path.stem.rpartition("_")[0]
        for image_id in ids:
            other = owners.setdefault((division, image_id), path)
            if other != path:
                raise BadInput(path, f"image id {image_id} is also in {other}", "keep it in one")
        absent = [image_id for image_id in ids if image_id not in known]
        required = [image_id for image_id in absent if image_id not in optional]
        if required:
            found = f"{len(required)} ids of no image, the first is {required[0]}"
            raise BadInput(path, found, "mark ids that may be absent with the word `optional`")
        if absent:
            notes.append(f"{path}: {len(absent)} optional ids are absent: {', '.join(absent)}")
        splits[f"dsb2018_{path.stem}"] = sorted(set(ids) & known)
    return splits, notes


def _read_list(path: Path) -> tuple[list[str], set[str]]:
    ids, optional = [], set()
    try:
        lines = read_file(path).decode("utf-8-sig").splitlines()
    except ValueError as error:
        raise BadInput(path, f"not a text file: {error}", "expected one image id a line") from error
    for number, line in enumerate(lines, start=1):
        words = line.partition("#")[0].split()
        if not words:
            continue
        if words[1:] not in ([], ["optional"]):
            raise BadInput(f"{path}:{number}", f"{line!r}", "expected `id` or `id optional`")
        if words[0] in ids:
            raise BadInput(f"{path}:{number}", f"image id {words[0]} is listed twice")
        ids.append(words[0])
        if len(words) == 2:
            optional.add(words[0])
    return ids, optional


def draw_splits(
    ids: Collection[str], info: dict[str, ImageInfo], val_fraction: float, seed: int
) -> Splits:
    """Draws `dsb2018_train` and `dsb2018_val`.

    Images of one group stay together, and each modality gives its share. An image without
    information is a group of its own.

    Args:
        ids: the images.
        info: modality and group of the images that have any.
        val_fraction: share of the images to draw for validation, between 0 and 1.
        seed: the same seed and images give the same splits.

    Raises:
        UsageError: val_fraction is not between 0 and 1, or leaves one of the two without images.
    """
    if not 0 < val_fraction < 1:
        raise UsageError(f"validation fraction {val_fraction}, expected between 0 and 1")
    groups: dict[str, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    for image_id in sorted(ids):
        known = info.get(image_id, ImageInfo("", f"image {image_id}"))
        groups[known.modality][known.group].append(image_id)
    val = []
    for modality in sorted(groups):
        drawn = _draw_groups(list(groups[modality].values()), val_fraction, f"{seed} {modality}")
        val.extend(drawn)
    train = sorted(set(ids) - set(val))
    if not train or not val:
        raise UsageError(
            f"a validation fraction of {val_fraction} of {len(ids)} images leaves {len(train)} for "
            f"training and {len(val)} for validation; choose another, or put all into one dataset"
        )
    return {"dsb2018_train": train, "dsb2018_val": sorted(val)}


def _draw_groups(groups: list[list[str]], fraction: float, seed: str) -> list[str]:
    wanted = round(fraction * sum(map(len, groups)))
    random.Random(seed).shuffle(groups)
    drawn: list[str] = []
    for group in groups:
        if len(drawn) + len(group) <= wanted:
            drawn.extend(group)
    return drawn
