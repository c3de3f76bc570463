"""Reader of the results of `dsb2018 predict`: label images with their measurements."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet
import tifffile

from dsb2018.inference.measurements import Columns
from dsb2018.napari_plugin.features import to_features

TABLE, VOLUMES, LABELS = "nuclei", "volumes", "labels"
Layer = tuple[Any, dict[str, Any], str]


def get_reader(path: str | list[str]) -> Callable[[str], list[Layer]] | None:
    """Returns the reader of a table `nuclei.csv` or `nuclei.parquet`; None for other files."""
    is_table = isinstance(path, str) and Path(path).stem == TABLE
    return read_results if is_table else None


def read_results(path: str) -> list[Layer]:
    """Reads the label images of a folder of results, and their measurements.

    Args:
        path: the table `nuclei` in the folder.

    Returns:
        For each label image a layer in units of pixels, whose features are its rows of the table,
        or of the table `volumes` for a stack. Only the first layer is visible.

    Raises:
        ValueError: there are no label images.
    """
    files = sorted((Path(path).parent / LABELS).glob("*.tif"))
    if not files:
        raise ValueError(f"{path}: no label images beside it; run predict with --format labels")
    layers = [_read_labels(file) for file in files]
    for _, options, _ in layers[1:]:
        options["visible"] = False
    return layers


def _read_labels(file: Path) -> Layer:
    labels = tifffile.imread(file).astype(np.int32)
    options: dict[str, Any] = {"name": file.stem}
    name = VOLUMES if labels.ndim == 3 else TABLE
    columns = _read_columns(file.parents[1] / f"{name}.parquet", file.stem)
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
