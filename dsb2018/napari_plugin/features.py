"""The measurements of nuclei as the features of a label layer, which napari shows as a table."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from dsb2018.inference.measurements import Columns


def to_features(frames: Sequence[Columns]) -> pd.DataFrame:
    """Joins the measurements of all time points.

    napari takes the number of a row as the label. So row 0 is the background, and labels without a
    nucleus have a row without values.

    Args:
        frames: the measurements of each time point.

    Returns:
        A table whose row k describes the nucleus with the label k. With several time points, the
        column `time` is the index of the time point.
    """
    tables = [pd.DataFrame(dict(columns)) for columns in frames]
    if len(tables) > 1:
        for time, table in enumerate(tables):
            table.insert(1, "time", time)
    table = pd.concat(tables, ignore_index=True)
    last = int(table["label"].max()) if len(table) else 0
    rows = table.drop_duplicates("label").set_index("label", drop=False)
    rows = rows.reindex(range(last + 1))
    rows.index.name = None
    rows["label"] = np.arange(last + 1)
    return rows


def position_of(features: pd.DataFrame, label: int) -> dict[str, float] | None:
    """Returns the center of a nucleus: {axis: position} with Y, X and perhaps T and Z.

    Y, X and Z are in pixels and slices. None: there is no such nucleus.
    """
    if not 0 < label < len(features) or "centroid_y" not in features:
        return None
    row = features.iloc[label]
    names = {"T": "time", "Z": "centroid_z", "Y": "centroid_y", "X": "centroid_x"}
    position = {axis: float(row[name]) for axis, name in names.items() if name in features}
    return None if np.isnan(position["Y"]) else position
