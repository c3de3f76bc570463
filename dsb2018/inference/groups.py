"""Groups of images, such as the treatments or wells of an experiment."""

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import pyarrow.parquet as parquet

from dsb2018.errors import UsageError
from dsb2018.io.names import printable

FOLDER = "folder"  # groups by the folder of the image file
OF_IMAGES = ("nuclei", "nuclei_per_megapixel", "nuclei_per_mm2", "covered")
OF_NUCLEI = ("area", "area_um2", "eccentricity", "solidity", "circularity", "neighbour_distance")
QUANTILES = {"q25": 0.25, "median": 0.5, "q75": 0.75}

OF_ALL = ("image", "images", "file", "slice", "label", "score", "height", "width", "warning")
Fields = dict[str, str]  # {name: value}, which are the same for all images of a group


class Grouping:
    """Reads the group of an image from its path."""

    def __init__(self, text: str):
        """
        Args:
            text: "folder", or a regular expression with named fields, such as
                `(?P<treatment>\\w+)_(?P<well>[A-H]\\d+)`, which is searched in the path.

        Raises:
            ValueError: it is neither, or a field has the name of a column of the tables.
        """
        self._pattern = None
        self.names: tuple[str, ...] = (FOLDER,)
        if text == FOLDER:
            return
        try:
            self._pattern = re.compile(text)
        except re.error as error:
            raise ValueError(f"{text!r} is not a regular expression: {error}") from error
        self.names = tuple(self._pattern.groupindex)
        if not self.names:
            raise ValueError(
                f"{text!r}, expected {FOLDER!r} or a regular expression with named fields, such as "
                r"'(?P<treatment>\w+)_(?P<well>[A-H]\d+)'"
            )
        for name in self.names:
            if name in (*OF_ALL, *OF_IMAGES, *OF_NUCLEI):
                raise ValueError(_taken(name))

    def __str__(self) -> str:
        return self._pattern.pattern if self._pattern else FOLDER

    def fields(self, path: str) -> Fields:
        """Returns the values of all names for the path of an image file; "" if it has none."""
        if self._pattern is None:
            parts = Path(path).parts
            store = next((i for i, part in enumerate(parts) if part.endswith(".zarr")), -1)
            parents = parts[:store]
            return {FOLDER: printable(parents[-1]) if parents else ""}
        found = self._pattern.search(Path(path).as_posix())
        return {name: (found[name] or "") if found else "" for name in self.names}


def add_fields(row: Mapping[str, object], grouping: Grouping | None) -> dict[str, object]:
    """Adds the group to a row of `images.csv`, after the name and the file.

    Raises:
        UsageError: a field of the group has the name of a column.
    """
    if grouping is None:
        return dict(row)
    for name in grouping.names:
        if name in row:
            raise UsageError(f"--group: {_taken(name)}")
    named = {name: row[name] for name in ("image", "file")}
    return {**named, **grouping.fields(str(row["file"])), **row}


def _taken(name: str) -> str:
    return f"the tables have a column {name!r}, expected another name for the field"


def summarize_groups(
    rows: Sequence[Mapping[str, object]], nuclei: Path, names: Sequence[str]
) -> list[dict[str, object]]:
    """Summarizes the images and the nuclei of each group.

    Args:
        rows: rows of `images.csv` with the fields of their group.
        nuclei: `nuclei.parquet` with the same fields.
        names: names of the fields.

    Returns:
        One row for each group, sorted: its fields, the number of images and of nuclei, and the
        median and the quartiles (`_q25`, `_q75`), over images of the measurements in `OF_IMAGES`,
        and over nuclei of those in `OF_NUCLEI` and of the mean intensities.
    """
    groups: dict[tuple, dict[str, object]] = {}
    members: dict[tuple, list[Mapping[str, object]]] = {}
    for row in rows:
        members.setdefault(_key(row, names), []).append(row)
    for key in sorted(members):
        own = members[key]
        groups[key] = {
            **dict(zip(names, key, strict=True)),
            "images": len(own),
            "nuclei": sum(int(str(row["nuclei"])) for row in own),
        }
        for name in OF_IMAGES:
            values = [row.get(name) for row in own]
            known = np.array([value for value in values if value is not None], float)
            title = "nuclei_per_image" if name == "nuclei" else name
            if len(known):
                groups[key] |= _quantiles(title, known)
    for key, name, values in _nuclei_values(nuclei, names):
        if key in groups:
            groups[key] |= _quantiles(name, values)
    return list(groups.values())


def _key(row: Mapping[str, object], names: Sequence[str]) -> tuple:
    return tuple(str(row[name]) for name in names)


def _quantiles(name: str, values: np.ndarray) -> dict[str, float]:
    values = values[np.isfinite(values)]
    numbers = np.quantile(values, list(QUANTILES.values())) if len(values) else [np.nan] * 3
    return {
        f"{name}_{suffix}": float(number) for suffix, number in zip(QUANTILES, numbers, strict=True)
    }


def _nuclei_values(path: Path, names: Sequence[str]) -> Iterator[tuple[tuple, str, np.ndarray]]:
    """Yields the values of each group and column, with one column in memory at a time."""
    file = parquet.ParquetFile(path)
    columns = [
        name
        for name in file.schema_arrow.names
        if name in OF_NUCLEI or name.startswith("intensity_mean")
    ]
    numbers, keys = _group_numbers(file, names)
    order = np.argsort(numbers, kind="stable")
    ends = np.cumsum(np.bincount(numbers, minlength=len(keys)))[:-1]
    for name in columns:
        values = file.read([name]).column(0).to_numpy().astype(float)
        for key, own in zip(keys, np.split(values[order], ends), strict=True):
            yield key, name, own


def _group_numbers(
    file: parquet.ParquetFile, names: Sequence[str]
) -> tuple[np.ndarray, list[tuple]]:
    """Returns the number of the group of each nucleus, and the fields of each group."""
    table = file.read(list(names))
    codes = [table.column(name).combine_chunks().dictionary_encode() for name in names]
    combined = np.zeros(len(table), np.int64)
    for code in codes:
        combined = combined * max(1, len(code.dictionary)) + np.asarray(code.indices)
    _, first, numbers = np.unique(combined, return_index=True, return_inverse=True)
    keys = [
        tuple(str(code.dictionary[int(code.indices[int(row)].as_py())]) for code in codes)
        for row in first
    ]
    return numbers, keys
