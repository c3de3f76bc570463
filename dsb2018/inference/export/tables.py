"""Tables as CSV and Parquet, joined from part files without loading all of them."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute
import pyarrow.csv
import pyarrow.parquet

from dsb2018.errors import UsageError
from dsb2018.inference.export.base import Exporter, ExportJob, StackJob, register_exporter
from dsb2018.inference.export.parts import reading
from dsb2018.inference.export.stored_columns import StoredColumns
from dsb2018.inference.measurements import Columns
from dsb2018.inference.volumes import measure_volumes
from dsb2018.io.csv_text import FORMULA, quote_cell
from dsb2018.io.files import replacing

GROUP = 100_000  # minimum size of a Parquet row group, rows


class NucleiTableExporter(Exporter):
    """Writes `nuclei.csv` and `nuclei.parquet`: one row per nucleus."""

    name = "nuclei"
    part_suffix = ".parquet"

    def write(self, job: ExportJob, columns: Columns) -> None:
        """See `Exporter.write`."""
        blocks = columns.blocks() if isinstance(columns, StoredColumns) else [columns]
        write_part(job.part(self), (self._rows(job, block) for block in blocks))

    def join(
        self, output: Path, parts: Sequence[Path], fields: Sequence[Mapping[str, str]]
    ) -> list[Path]:
        """See `Exporter.join`."""
        return join_tables(output / "nuclei", parts, fields)

    def _rows(self, job: ExportJob, columns: Columns) -> dict[str, np.ndarray]:
        count = len(columns["label"])
        names = {"image": np.full(count, job.name, object).astype(str)}
        if job.slice_number is not None:
            names["slice"] = np.full(count, job.slice_number)
        return {**names, **columns}


class VolumeTableExporter(Exporter):
    """Writes `volumes.csv` and `volumes.parquet`: one row per 3-D nucleus."""

    name = "volumes"
    stack_suffix = ".volumes.parquet"

    def write_stack(self, job: StackJob) -> None:
        """See `Exporter.write_stack`."""
        names = {"image": np.full(job.count, job.name, object).astype(str)}
        columns = measure_volumes(job.slices, job.count, job.image)
        write_part(job.parts / f"{job.name}{self.stack_suffix}", [{**names, **columns}])

    def join(
        self, output: Path, parts: Sequence[Path], fields: Sequence[Mapping[str, str]]
    ) -> list[Path]:
        """See `Exporter.join`."""
        if not parts:
            delete_table(output / "volumes")
            return []
        return join_tables(output / "volumes", parts, fields)


register_exporter(NucleiTableExporter(), always=True)
register_exporter(VolumeTableExporter(), always=True)


def write_part(path: Path, blocks: Iterable[Mapping[str, np.ndarray]]) -> None:
    """Writes the rows of one image as a Parquet file.

    Args:
        path: the file.
        blocks: the columns of each block of the image; at least one.
    """
    tables = (pa.table(dict(columns)) for columns in blocks)
    first = next(tables)
    with (
        replacing(path) as file,
        pyarrow.parquet.ParquetWriter(file, first.schema) as writer,
    ):
        for table in chain([first], tables):
            writer.write_table(table.cast(first.schema))


def join_tables(
    stem: Path, parts: Sequence[Path], fields: Sequence[Mapping[str, str]]
) -> list[Path]:
    """Joins part files to `<stem>.csv` and `<stem>.parquet`.

    Columns that a part lacks are empty, for example if images have different channels. Without
    parts, the files have no rows.

    Args:
        stem: path of the files, without extension.
        parts: Parquet files.
        fields: {name: value} of additional text columns for each part. All parts have the same
            names.

    Returns:
        The files that were written.
    """
    schema = _common_schema(parts)
    for name in fields[0] if fields else ():
        schema = schema.append(pa.field(name, pa.string()))
    with (
        replacing(stem.with_suffix(".csv")) as text,
        replacing(stem.with_suffix(".parquet")) as file,
        pyarrow.csv.CSVWriter(text, schema) as csv_writer,
        pyarrow.parquet.ParquetWriter(file, schema) as parquet_writer,
    ):
        tables = (
            _fill(_add_columns(table, own), schema)
            for part, own in zip(parts, fields, strict=True)
            for table in _read(part)
        )
        for table in _gather(tables):
            csv_writer.write_table(_format_cells(table))
            parquet_writer.write_table(table)
    return [stem.with_suffix(".csv"), stem.with_suffix(".parquet")]


def _read(part: Path) -> Iterator[pa.Table]:
    """Iterates over the blocks of an image."""
    with reading(part), pyarrow.parquet.ParquetFile(part) as file:
        for group in range(file.num_row_groups):
            yield file.read_row_group(group)


def _add_columns(table: pa.Table, fields: Mapping[str, str]) -> pa.Table:
    for name, value in fields.items():
        if name in table.column_names:
            raise UsageError(f"--group: the tables have a column {name!r}, expected another name")
        table = table.append_column(name, pa.repeat(pa.scalar(value, pa.string()), len(table)))
    return table


def _gather(tables: Iterable[pa.Table]) -> Iterator[pa.Table]:
    """Concatenates tables to at least `GROUP` rows. Many small row groups are slow and large."""
    gathered, count = [], 0
    for table in tables:
        gathered.append(table)
        count += len(table)
        if count >= GROUP:
            yield pa.concat_tables(gathered).combine_chunks()
            gathered, count = [], 0
    if gathered:
        yield pa.concat_tables(gathered).combine_chunks()


def write_image_table(stem: Path, rows: Sequence[Mapping[str, object]]) -> list[Path]:
    """Writes rows to `<stem>.csv` and `<stem>.parquet`.

    Columns that a row lacks are empty.

    Returns:
        The files that were written.
    """
    names = dict.fromkeys(name for row in rows for name in row)
    table = pa.table({name: [row.get(name) for row in rows] for name in names})
    with replacing(stem.with_suffix(".csv")) as file:
        pyarrow.csv.write_csv(_format_cells(table), file)
    with replacing(stem.with_suffix(".parquet")) as file:
        pyarrow.parquet.write_table(table, file)
    return [stem.with_suffix(".csv"), stem.with_suffix(".parquet")]


def delete_table(stem: Path) -> None:
    """Deletes `<stem>.csv` and `<stem>.parquet` of an earlier run, which had other files."""
    for extension in (".csv", ".parquet"):
        stem.with_suffix(extension).unlink(missing_ok=True)


def _common_schema(parts: Iterable[Path]) -> pa.Schema:
    schemas = set()  # few, because most parts have the same columns
    common = pa.schema([])
    for part in parts:
        with reading(part):
            schema = pyarrow.parquet.read_schema(part).remove_metadata()
        if schema not in schemas:
            schemas.add(schema)
            common = pa.unify_schemas([common, schema], promote_options="permissive")
    return common


def _fill(table: pa.Table, schema: pa.Schema) -> pa.Table:
    """Casts a table to a schema. Missing columns become null."""
    arrays = [
        table[field.name].cast(field.type)
        if field.name in table.column_names
        else pa.nulls(len(table), field.type)
        for field in schema
    ]
    return pa.Table.from_arrays(arrays, schema=schema)


def _format_cells(table: pa.Table) -> pa.Table:
    """Formats a table for CSV.

    Floats are rounded, NaN becomes an empty cell, and text that a spreadsheet would interpret as a
    formula is quoted.
    """
    for index, field in enumerate(table.schema):
        if pa.types.is_string(field.type):
            texts = table.column(index)
            if pyarrow.compute.any(pyarrow.compute.match_substring_regex(texts, FORMULA)).as_py():
                cells = [text and quote_cell(text) for text in texts.to_pylist()]
                table = table.set_column(index, field.name, pa.array(cells, field.type))
        if pa.types.is_floating(field.type):
            values = table.column(index).to_numpy()
            cells = pa.array(round_off(values), field.type, mask=np.isnan(values))
            table = table.set_column(index, field.name, cells)
    return table


def round_off(values: np.ndarray) -> np.ndarray:
    """Rounds floats to six significant digits, but at least four decimals."""
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        digits = np.nan_to_num(np.floor(np.log10(np.abs(values))), posinf=0.0, neginf=0.0)
        scale = 10.0 ** np.clip(5 - digits, 4, 300)
        rounded = np.rint(values * scale) / scale
    return np.where(np.isfinite(rounded), rounded, values)
