"""Records of finished image files, which allow an interrupted run to be resumed.

A record is a dict with the keys `fingerprint`, a hash of everything that the results depend on,
`images`, the rows of `images.csv`, and `stacks`, the names of the stacks.
"""

from pathlib import Path

from dsb2018.io.files import read_json
from dsb2018.io.names import file_name


def read_record(path: Path) -> dict | None:
    """Reads the record of an image file; returns None if it is missing or damaged."""
    record = _read_json(path)
    if record is None or not isinstance(record.get("images"), list):
        return None
    stacks = record.get("stacks")
    if not isinstance(stacks, list) or not all(_is_name(name) for name in stacks):
        return None
    is_valid = record["images"] and all(map(_is_row, record["images"]))
    return record if is_valid else None


def read_part_record(path: Path) -> dict | None:
    """Reads the record of one image of a file that has several: `fingerprint` and `row`.

    Returns None if it is missing or damaged.
    """
    record = _read_json(path)
    return record if record is not None and _is_row(record.get("row")) else None


def _read_json(path: Path) -> dict | None:
    try:
        record = read_json(path)
    except (OSError, ValueError):
        return None
    is_record = isinstance(record, dict) and isinstance(record.get("fingerprint"), str)
    return record if is_record else None


def _is_row(row: object) -> bool:
    if not isinstance(row, dict) or not _is_name(row.get("image")):
        return False
    is_count = isinstance(row.get("nuclei"), int) and row["nuclei"] >= 0
    return is_count and all(map(_is_cell, row.values()))


def _is_cell(value: object) -> bool:
    if isinstance(value, int):
        return abs(value) < 2**63
    return value is None or isinstance(value, (str, float))


def _is_name(name: object) -> bool:
    return isinstance(name, str) and file_name(name) == name
