"""Tables as CSV and Parquet, joined of parts without ever holding all of them."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet

from dsb2018.files import replacing


def write_part(path: Path, columns: Mapping[str, np.ndarray]) -> None:
    """Writes the rows of one image as Parquet."""
    with replacing(path) as file:
        pyarrow.parquet.write_table(pa.table(dict(columns)), file)


def join_tables(stem: Path, parts: Sequence[Path]) -> None:
    """Joins parts to `<stem>.csv` and `<stem>.parquet`.

    Columns that some parts lack are empty there, as of images of other channels; no parts give
    files without rows.
    """
    schema = _common_schema(parts)
    with (
        replacing(stem.with_suffix(".csv")) as text,
        replacing(stem.with_suffix(".parquet")) as file,
        pyarrow.csv.CSVWriter(text, schema) as lines,
        pyarrow.parquet.ParquetWriter(file, schema) as rows,
    ):
        for table in (_fill(pyarrow.parquet.read_table(part), schema) for part in parts):
            lines.write_table(_as_text(table))
            rows.write_table(table)


def write_rows(stem: Path, rows: Sequence[Mapping[str, object]]) -> None:
    """Writes `<stem>.csv` and `<stem>.parquet` of rows; what a row lacks is empty."""
    names = dict.fromkeys(name for row in rows for name in row)
    table = pa.table({name: [row.get(name) for row in rows] for name in names})
    with replacing(stem.with_suffix(".csv")) as file:
        pyarrow.csv.write_csv(_as_text(table), file)
    with replacing(stem.with_suffix(".parquet")) as file:
        pyarrow.parquet.write_table(table, file)


def _common_schema(parts: Iterable[Path]) -> pa.Schema:
    schemas = [pyarrow.parquet.read_schema(part) for part in parts]
    return pa.unify_schemas(schemas, promote_options="permissive") if schemas else pa.schema([])


def _fill(table: pa.Table, schema: pa.Schema) -> pa.Table:
    arrays = [
        table[field.name].cast(field.type)
        if field.name in table.column_names
        else pa.nulls(len(table), field.type)
        for field in schema
    ]
    return pa.Table.from_arrays(arrays, schema=schema)


def _as_text(table: pa.Table) -> pa.Table:
    """Four decimals, and NaN as an empty cell."""
    for index, field in enumerate(table.schema):
        if pa.types.is_floating(field.type):
            values = table.column(index).to_numpy()
            cells = pa.array(np.round(values, 4), field.type, mask=np.isnan(values))
            table = table.set_column(index, field.name, cells)
    return table
