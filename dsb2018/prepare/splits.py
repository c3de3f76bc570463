"""Assigns images to datasets: by lists of ids, or by a random split that keeps groups together.

In a folder of split lists, the file `NAME.txt` lists the images of the dataset `dsb2018_NAME`, one
id per line. ` #` starts a comment. The word `optional` after an id marks an image that some
releases of the data do not contain. Lists whose names differ only in the last word, such as
`stardist_train` and `stardist_test`, belong to the same split and must not share an image.
"""

import csv
import os
import random
import re
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from dsb2018.errors import InputError, UsageError
from dsb2018.io.files import read_file

Splits = dict[str, list[str]]  # dataset name → sorted image ids
VAL_FRACTION = 0.1  # of a random split


@dataclass(frozen=True)
class ImageInfo:
    """Metadata of an image.

    Args:
        modality: kind of microscopy, for example "fluorescence".
        group: images of the same group were cut from one larger field.
    """

    modality: str
    group: str


def read_image_info(path: str | os.PathLike) -> dict[str, ImageInfo]:
    """Reads a CSV file like `modality.csv`, with columns `image_id`, `modality` and `group`.

    Other columns are ignored.

    Returns:
        Metadata by image id.

    Raises:
        FileNotFoundError: the file does not exist.
        InputError: a column or cell is missing, or an id is listed twice.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(
            f"{path}: no such regular file (expected a CSV file with the columns image_id, "
            "modality and group)"
        )
    try:
        with open(path, newline="", encoding="utf-8-sig") as file:
            return _read_image_info(path, csv.DictReader(file))
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(path, f"not a text file: {error}", "expected a CSV file") from error


def _read_image_info(path: str | os.PathLike, reader: csv.DictReader) -> dict[str, ImageInfo]:
    columns = {"image_id", "modality", "group"}
    missing = columns - set(reader.fieldnames or ())
    if missing:
        raise InputError(path, f"columns {sorted(missing)} are missing")
    info = {}
    for row in reader:
        if any(row[column] is None for column in columns):
            location = f"{path}:{reader.line_num}"
            problem = "the row has fewer cells than the header"
            raise InputError(location, problem, "correct the row")
        if row["image_id"] in info:
            raise InputError(path, f"image id {row['image_id']} is listed twice")
        info[row["image_id"]] = ImageInfo(row["modality"], row["group"])
    return info


def add_groups(
    info: Mapping[str, ImageInfo], ids: Iterable[str], pattern: str
) -> dict[str, ImageInfo]:
    """Adds groups to the metadata of images.

    Args:
        info: metadata by image id.
        ids: the images.
        pattern: regular expression, which is searched in an id. The group is the text that it
            finds, or its first group of parentheses. Other images keep their group.

    Raises:
        UsageError: the expression is invalid, or finds nothing in any id.
    """
    try:
        matches = {image_id: re.search(pattern, image_id) for image_id in ids}
    except re.error as error:
        raise UsageError(f"--group {pattern}: not a regular expression ({error})") from error
    if not any(matches.values()):
        raise UsageError(
            f"--group {pattern}: found in no image name, for example {next(iter(matches), None)}"
        )
    grouped = dict(info)
    for image_id, match in matches.items():
        if match:
            modality = info[image_id].modality if image_id in info else ""
            group = (match.groups() and match[1]) or match[0]
            grouped[image_id] = ImageInfo(modality, group)
    return grouped


def read_splits(
    folder: str | os.PathLike, known: Collection[str], prefix: str = "dsb2018"
) -> tuple[Splits, list[str]]:
    """Reads the split lists of a folder.

    Args:
        folder: contains one `*.txt` file per list.
        known: ids of the images in the input.
        prefix: beginning of the names of the datasets.

    Returns:
        Image ids by dataset name; and one note for each list with optional ids that are not in the
        input.

    Raises:
        FileNotFoundError: the folder contains no list.
        InputError: an id is listed twice, is in two lists of the same split, or is not in the
            input; or a list is not a text file.
    """
    files = sorted(Path(folder).glob("*.txt"))
    if not files:
        raise FileNotFoundError(
            f"{folder}: no split list in this folder (expected train.txt, val.txt, …)"
        )
    known = set(known)
    splits: Splits = {}
    notes = []
    list_of_id: dict[tuple[str, str], Path] = {}  # by name of the split and image id
    for path in files:
        ids, optional = _read_list(path)
        split_name = path.stem.rpartition("_")[0]
        for image_id in ids:
            other = list_of_id.setdefault((split_name, image_id), path)
            if other != path:
                problem = f"image id {image_id} is also in {other}"
                raise InputError(path, problem, "remove it from one of the lists")
        absent = [image_id for image_id in ids if image_id not in known]
        required = [image_id for image_id in absent if image_id not in optional]
        if required:
            raise InputError(
                path,
                f"{len(required)} image ids are not in the input, for example {required[0]}",
                "list names as they are in the input, without extension, and add the word "
                "`optional` after those that may be absent",
            )
        if absent:
            ids_text = ", ".join(absent)
            notes.append(f"{path}: {len(absent)} optional ids are not in the input: {ids_text}")
        splits[f"{prefix}_{path.stem}"] = sorted(set(ids) & known)
    return splits, notes


def _read_list(path: Path) -> tuple[list[str], set[str]]:
    """Reads one list; returns all ids, and the set of those that are marked `optional`."""
    ids, optional = [], set()
    try:
        lines = read_file(path).decode("utf-8-sig").splitlines()
    except ValueError as error:
        problem = f"not a text file: {error}"
        raise InputError(path, problem, "expected one image id per line") from error
    for number, line in enumerate(lines, start=1):
        text = re.split(r"(?:^|\s)#", line)[0].strip()  # a name may contain a `#`
        image_id = re.sub(r"\s+optional$", "", text)
        if not image_id:
            continue
        if image_id in ids:
            raise InputError(f"{path}:{number}", f"image id {image_id} is listed twice")
        ids.append(image_id)
        if image_id != text:
            optional.add(image_id)
    return ids, optional


def subset_splits(
    subsets: Mapping[str, str],
    info: Mapping[str, ImageInfo],
    val_fraction: float | None,
    seed: int,
    prefix: str = "dsb2018",
) -> Splits:
    """Makes one dataset of each subset.

    Args:
        subsets: "train", "val", "test" or "", by image id. Images without a subset are for
            training.
        info, seed, prefix: see `random_splits`.
        val_fraction: fraction of the training images that are used for validation; None: none.

    Raises:
        UsageError: there are validation images, and `val_fraction` is given; or see
            `random_splits`.
    """
    splits: Splits = defaultdict(list)
    for image_id in sorted(subsets):
        splits[f"{prefix}_{subsets[image_id] or 'train'}"].append(image_id)
    if val_fraction is None:
        return dict(splits)
    if f"{prefix}_val" in splits:
        raise UsageError("--val-fraction: the input already has a folder of validation images")
    training = splits.pop(f"{prefix}_train", [])
    return {**splits, **random_splits(training, info, val_fraction, seed, prefix)}


def random_splits(
    ids: Collection[str],
    info: Mapping[str, ImageInfo],
    val_fraction: float | None,
    seed: int,
    prefix: str = "dsb2018",
) -> Splits:
    """Divides images randomly into a training and a validation dataset.

    Images of one group stay together, and about `val_fraction` of each modality goes to the
    validation set. An image without metadata is a group of its own.

    Args:
        ids: the images.
        info: modality and group of the images that have metadata.
        val_fraction: fraction of the validation images, between 0 and 1; None: 0.1.
        seed: the same seed and images give the same splits.
        prefix: beginning of the names of the datasets.

    Raises:
        UsageError: `val_fraction` is out of range, or leaves one of the two datasets empty.
    """
    val_fraction = VAL_FRACTION if val_fraction is None else val_fraction
    if not 0 < val_fraction < 1:
        raise UsageError(f"validation fraction {val_fraction}, expected a number between 0 and 1")
    groups: dict[str, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    for image_id in sorted(ids):
        image_info = info.get(image_id, ImageInfo("", f"image {image_id}"))
        groups[image_info.modality][image_info.group].append(image_id)
    val = []
    for modality in sorted(groups):
        modality_groups = list(groups[modality].values())
        val.extend(_sample_groups(modality_groups, val_fraction, f"{seed} {modality}"))
    train = sorted(set(ids) - set(val))
    if not train or not val:
        raise UsageError(
            f"a validation fraction of {val_fraction} of {len(ids)} images leaves {len(train)} for "
            f"training and {len(val)} for validation; choose another fraction, or put all images "
            "into one dataset"
        )
    return {f"{prefix}_train": train, f"{prefix}_val": sorted(val)}


def _sample_groups(groups: list[list[str]], fraction: float, seed: str) -> list[str]:
    """Samples whole groups with at most `fraction` of all images."""
    limit = round(fraction * sum(map(len, groups)))
    random.Random(seed).shuffle(groups)
    sample: list[str] = []
    for group in groups:
        if len(sample) + len(group) <= limit:
            sample.extend(group)
    return sample
