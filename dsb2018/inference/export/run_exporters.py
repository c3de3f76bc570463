"""Exports one image, and joins the part files of all images."""

import json
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from dsb2018.inference.appearance import Appearance
from dsb2018.inference.doubts import find_doubts

# These imports register the formats, in the order of `--help`.
from dsb2018.inference.export import (  # noqa: F401
    anndata_file,
    coco_json,
    crops,
    dsb_folder,
    geojson,
    kaggle,
    label_images,
    overlay,
    page,
    rois,
    zarr_labels,
)
from dsb2018.inference.export.base import Exporter, ExportJob
from dsb2018.inference.export.tables import delete_table, write_image_table
from dsb2018.inference.groups import Fields, Grouping, add_fields, summarize_groups
from dsb2018.inference.measurements import (
    Columns,
    channel_suffixes,
    measure_nuclei,
    summarize_nuclei,
    typical_diameter,
    typical_score,
)
from dsb2018.io.files import write_atomically
from dsb2018.io.names import printable

logger = logging.getLogger(__name__)


def export_image(job: ExportJob) -> dict:
    """Measures and exports an image. `ExportWorker` calls this function in another process.

    Returns:
        The image's row of `images.csv`.

    Raises:
        OSError: a file cannot be written, for example because the disk is full.
        ValueError: a format does not support this image, or the image file is damaged.
    """
    columns = measure_nuclei(job.nuclei, job.image)
    if job.numbers is not None:
        columns = {**columns, "label": job.numbers}
    for exporter in job.exporters:
        exporter.write(job, columns)
    return finish_image(job, columns)


def finish_image(job: ExportJob, columns: Columns) -> dict:
    """Returns the row of an image in `images.csv`, and records it if the file has several images.

    Args:
        job: the image and its nuclei.
        columns: their measurements.
    """
    appearance = Appearance(job.nuclei, *job.picture, _picture_levels(job, columns))
    doubts = find_doubts(typical_score(columns), typical_diameter(columns), appearance)
    row = {
        "image": job.name,
        "file": printable(job.image.path),
        **({} if job.slice_number is None else {"slice": job.slice_number}),
        **summarize_nuclei(columns, job.image, doubts),
    }
    if job.is_part:
        record = {"fingerprint": job.fingerprint, "row": row}
        write_atomically(job.parts / f"{job.name}.json", json.dumps(record) + "\n")
    return row


def _picture_levels(job: ExportJob, columns: Columns) -> np.ndarray:
    """Returns the background of the channels of the picture that people see."""
    levels = [columns[f"background{suffix}"][:1] for suffix in channel_suffixes(job.image)]
    axis = job.image.channel_axis
    if not job.channel.stain and axis in job.channel.fixed:
        levels = [levels[job.channel.fixed[axis]]]
    return np.concatenate(levels)


def join_parts(
    output: Path,
    done: Path,
    records: Mapping[str, dict],
    exporters: Sequence[Exporter],
    grouping: Grouping | None = None,
) -> list[Path]:
    """Writes the files that contain all images.

    Args:
        output: output folder of the run.
        done: folder that contains a folder of part files for each image file.
        records: {name of the image file: record}, see `records`.
        exporters: the selected output formats.
        grouping: reads the group of each image; its fields become columns of the tables.

    Returns:
        The files that were written.

    Raises:
        DamagedPartError: a part file cannot be read.
        OSError: a file cannot be written, for example because the disk is full.
    """
    rows = [add_fields(row, grouping) for record in records.values() for row in record["images"]]
    written = write_image_table(output / "images", rows)
    for exporter in exporters:
        parts, fields = [], []
        for name, record in records.items():
            names = exporter.part_names(record)
            parts += [done / name / part for part in names]
            fields += [_fields_of(record, grouping)] * len(names)
        written += exporter.join(output, parts, fields)
    if grouping:
        if not any(any(grouping.fields(str(row["file"])).values()) for row in rows):
            logger.warning("--group: the pattern matches none of the images")
        groups = summarize_groups(rows, output / "nuclei.parquet", grouping.names)
        written += write_image_table(output / "groups", groups)
    else:
        delete_table(output / "groups")
    return written


def _fields_of(record: Mapping, grouping: Grouping | None) -> Fields:
    """Returns the group of an image file, which is that of its first image."""
    return grouping.fields(record["images"][0]["file"]) if grouping else {}
