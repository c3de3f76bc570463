"""All that is written of one image, in one call that another process can make.

It needs no torch, so such a process starts fast.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dsb2018.files import read_json, write_atomically
from dsb2018.inference.contrast import GreyRange
from dsb2018.inference.formats.coco import join_coco, write_coco_part
from dsb2018.inference.formats.geojson import write_geojson
from dsb2018.inference.formats.kaggle import join_kaggle, kaggle_part
from dsb2018.inference.formats.labels import write_labels
from dsb2018.inference.formats.pictures import write_crops, write_dsb, write_overlay
from dsb2018.inference.formats.table import join_tables, write_part, write_rows
from dsb2018.inference.measuring import Columns, measure, summarise
from dsb2018.inference.nuclei import Nuclei
from dsb2018.inference.pictures import Picture
from dsb2018.names import file_name, printable

NUCLEI, VOLUMES, COCO, KAGGLE = ".parquet", ".volumes.parquet", ".coco", ".kaggle"  # parts
FORMATS = ("labels", "overlay", "coco", "geojson", "kaggle", "dsb", "crops")


def place(output: Path, kind: str, name: str) -> Path:
    """Where an image's label image, overlay or GeoJSON is, in the folder of a run."""
    folder, ending = {
        "labels": ("labels", "tif"),
        "overlay": ("overlays", "png"),
        "geojson": ("geojson", "geojson"),
    }[kind]
    return output / folder / f"{name}.{ending}"


@dataclass(frozen=True)
class Job:
    """An image whose nuclei are found.

    Args:
        name: of its files.
        picture: 2-D, with all its channels, which are measured.
        shown: what the model saw of it.
        grey_range: of that, which was spread for the model.
        nuclei: of it.
        formats: some of `FORMATS`.
        output: the folder of the run.
        parts: the folder for its parts of files that all images share.
        made_from: fingerprint of all that results depend on.
        is_part: of a file of several images: that it is done is recorded at once.
        slice_number: of a slice of a stack, else None.
        numbers: (N,) of its nuclei in the stack, else None.
    """

    name: str
    picture: Picture
    shown: Picture
    grey_range: GreyRange
    nuclei: Nuclei
    formats: Sequence[str]
    output: Path
    parts: Path
    made_from: str
    is_part: bool = False
    slice_number: int | None = None
    numbers: np.ndarray | None = None


def write_image(job: Job) -> dict:
    """Measures and writes; returns the image's row of `images.csv`.

    Raises:
        OSError: as on a full disk.
    """
    nuclei, picture, output = job.nuclei, job.picture, job.output
    columns = measure(nuclei, picture)
    if job.numbers is not None:
        columns["label"] = job.numbers
    is_slice = job.slice_number is not None
    _write_parts(job, columns)
    if "labels" in job.formats and not is_slice:  # a stack has one label image
        write_labels(place(output, "labels", job.name), nuclei, picture)
    if "geojson" in job.formats:
        write_geojson(place(output, "geojson", job.name), nuclei, columns)
    if "overlay" in job.formats:
        write_overlay(place(output, "overlay", job.name), nuclei, job.shown, job.grey_range)
    if "dsb" in job.formats:
        folder, mark = output / "dsb" / job.name, job.parts / f"{job.name}.dsb"
        write_dsb(folder, job.name, nuclei, job.shown, job.grey_range, mark)
    if "crops" in job.formats:
        write_crops(output / "crops" / job.name, nuclei, picture, columns["label"])
    row = {
        "image": job.name,
        "file": printable(picture.path),
        **({"slice": job.slice_number} if is_slice else {}),
        **summarise(columns, picture),
    }
    if job.is_part:
        record = {"made_from": job.made_from, "row": row}
        write_atomically(job.parts / f"{job.name}.json", json.dumps(record) + "\n")
    return row


def _write_parts(job: Job, columns: Columns) -> None:
    first = {"image": np.full(len(job.nuclei), job.name, object).astype(str)}
    if job.slice_number is not None:
        first["slice"] = np.full(len(job.nuclei), job.slice_number)
    write_part(job.parts / f"{job.name}{NUCLEI}", {**first, **columns})
    if "coco" in job.formats:
        path = job.parts / f"{job.name}{COCO}"
        write_coco_part(path, job.name, printable(job.picture.path), job.nuclei)
    if "kaggle" in job.formats:
        write_atomically(job.parts / f"{job.name}{KAGGLE}", kaggle_part(job.name, job.nuclei))


def join(
    output: Path, done: Path, records: Mapping[str, dict], formats: Sequence[str]
) -> list[Path]:
    """Joins the parts of all images; returns the files.

    Args:
        output: the folder of the run.
        done: the folder that has a folder of parts for each file.
        records: by the name of each file that was done: `images` (rows) and `stacks` (names).
        formats: some of `FORMATS`.
    """
    parts: dict[str, list[Path]] = {}
    for name, record in records.items():
        for part in part_names(record, formats):
            parts.setdefault(_kind(part), []).append(done / name / part)
    write_rows(output / "images", [row for r in records.values() for row in r["images"]])
    join_tables(output / "nuclei", parts.get(NUCLEI, []))
    written = ["nuclei.csv", "nuclei.parquet", "images.csv", "images.parquet"]
    if VOLUMES in parts:
        join_tables(output / "volumes", parts[VOLUMES])
        written += ["volumes.csv", "volumes.parquet"]
    if "coco" in formats:
        join_coco(output / "coco.json", parts.get(COCO, []))
        written.append("coco.json")
    if "kaggle" in formats:
        join_kaggle(output / "submission.csv", parts.get(KAGGLE, []))
        written.append("submission.csv")
    return [output / name for name in written]


def part_names(record: dict, formats: Sequence[str]) -> list[str]:
    """Names of the files in which a file's share of the joined files is kept."""
    shared = {"coco": COCO, "kaggle": KAGGLE}
    endings = [NUCLEI, *(shared[name] for name in shared if name in formats)]
    images = [f"{row['image']}{ending}" for row in record["images"] for ending in endings]
    return [*images, *(f"{stack}{VOLUMES}" for stack in record["stacks"])]


def _kind(part: str) -> str:
    return next(ending for ending in (VOLUMES, NUCLEI, COCO, KAGGLE) if part.endswith(ending))


def read_record(path: Path) -> dict | None:
    """What an earlier run recorded of a file: `made_from` (its fingerprint), `images` (rows of
    `images.csv`) and `stacks` (names); None where nothing can be read, so that it is done again."""
    record = _read_json(path)
    if record is None or not isinstance(record.get("images"), list):
        return None
    stacks = record.get("stacks")
    if not isinstance(stacks, list) or not all(_is_name(name) for name in stacks):
        return None
    is_whole = record["images"] and all(map(_is_row, record["images"]))
    return record if is_whole else None


def read_part_record(path: Path) -> dict | None:
    """What an earlier run recorded of one image of a file: `made_from` and `row`, or None."""
    record = _read_json(path)
    return record if record is not None and _is_row(record.get("row")) else None


def _read_json(path: Path) -> dict | None:
    try:
        record = read_json(path)
    except (OSError, ValueError):
        return None
    is_record = isinstance(record, dict) and isinstance(record.get("made_from"), str)
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
