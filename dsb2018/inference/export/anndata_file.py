"""AnnData, the table of single-cell biology, which scanpy and squidpy read."""

import io
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as parquet

from dsb2018.inference.export.base import Exporter, register_exporter
from dsb2018.io.files import write_atomically

POSITION = ["centroid_x", "centroid_y"]
# Columns that describe a nucleus, in contrast to measurements.
DESCRIPTIONS = ("image", "slice", "label", "score", "touching", "at_border")
BOX = ("box_y", "box_x", "box_height", "box_width")


class AnnDataExporter(Exporter):
    """Writes `nuclei.h5ad`: a row for each nucleus, a column for each measurement.

    `obs` has the image, the label and the group of each nucleus, and `obsm["spatial"]` the
    positions of its center, x and y in pixels.
    """

    name = "anndata"

    def check(self) -> None:
        """See `Exporter.check`."""
        if not find_spec("anndata"):
            raise ImportError('--format anndata needs: pip install "dsb2018[anndata]"')

    def join(
        self, output: Path, parts: Sequence[Path], fields: Sequence[Mapping[str, str]]
    ) -> list[Path]:
        """See `Exporter.join`."""
        path = output / "nuclei.h5ad"
        write_anndata(path, parquet.read_table(output / "nuclei.parquet"))
        return [path]


register_exporter(AnnDataExporter())


def write_anndata(path: Path, nuclei: pa.Table) -> None:
    """Writes the table of all nuclei, see `measure_nuclei`."""
    import h5py
    import pandas as pd
    from anndata import AnnData
    from anndata.io import write_elem

    table = nuclei.to_pandas()
    is_measurement = [
        name not in (*DESCRIPTIONS, *BOX, *POSITION) and pd.api.types.is_numeric_dtype(table[name])
        for name in table.columns
    ]
    measurements = table.loc[:, is_measurement]
    descriptions = table.loc[:, np.logical_not(is_measurement)].drop(columns=POSITION)
    descriptions.index = [
        f"{image}_{label}" for image, label in zip(table["image"], table["label"], strict=True)
    ]
    data = AnnData(
        X=measurements.to_numpy(np.float32),
        obs=descriptions,
        var=pd.DataFrame(index=list(measurements.columns)),
        obsm={"spatial": table[POSITION].to_numpy(np.float64)},
    )
    file = io.BytesIO()  # h5py needs a file that can be read
    with h5py.File(file, "w") as store:
        write_elem(store, "/", data)
    write_atomically(path, file.getvalue())
