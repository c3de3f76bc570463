"""Reader of the results of `dsb2018 predict`: label images with their measurements."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet
import tifffile

from dsb2018.inference.measurements import Columns
from dsb2018.napari_plugin.features import to_features

TABLE, VOLUMES, LABELS = "nuclei.csv", "volumes.csv", "labels"
Layer = tuple[Any, dict[str, Any], str]


def get_reader(path: str | list[str]) -> Callable[[str | list[str]], list[Layer]] | None:
    """Returns the reader of a `nuclei.csv` or of label images; None if a file is neither."""
    paths = [Path(path)] if isinstance(path, str) else [Path(one) for one in path]
    is_known = all(one.name == TABLE or one.parent.name == LABELS for one in paths)
    return read if paths and is_known else None


def read(path: str | list[str]) -> list[Layer]:
    """Reads label images and their measurements.

    Args:
        path: `nuclei.csv`, which means all label images beside it, or label images.

    Returns:
        For each label image a layer in units of pixels, whose features are its rows of `nuclei`,
        or of `volumes` for a stack.

    Raises:
        ValueError: there are no label images.
    """
    paths = [Path(path)] if isinstance(path, str) else [Path(one) for one in path]
    if paths[0].name == TABLE:
        paths = sorted((paths[0].parent / LABELS).glob("*.tif"))
        if not paths:
            raise ValueError(f"{path}: no label images beside it; run predict with --format labels")
    return [_read_labels(file) for file in paths]


def _read_labels(file: Path) -> Layer:
    labels = tifffile.imread(file).astype(np.int32)
    options: dict[str, Any] = {"name": file.stem}
    table = file.parents[1] / (VOLUMES if labels.ndim == 3 else TABLE)
    columns = _read_columns(table.with_suffix(".parquet"), file.stem)
    if columns:
        options["features"] = to_features([columns])
    return labels, options, "labels"


def _read_columns(table: Path, image: str) -> Columns:
    """Returns the measurements of an image; {} if there are none."""
    if not table.exists():
        return {}
    rows = pyarrow.parquet.read_table(table, filters=[("image", "=", image)])
    if not rows.num_rows:
        return {}
    names = [name for name in rows.column_names if name != "image"]
    return {name: rows[name].to_numpy() for name in names}
