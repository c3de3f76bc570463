"""Tables as CSV and Parquet, joined of parts without ever holding all of them."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute
import pyarrow.csv
import pyarrow.parquet

from dsb2018.inference.export.base import Exporter, ExportJob, StackJob, register
from dsb2018.inference.export.parts import reading
from dsb2018.inference.measurements import Columns
from dsb2018.inference.volumes import measure_volumes
from dsb2018.io.csv_text import FORMULA, quote_cell
from dsb2018.io.files import replacing

GROUP = 100_000  # rows of a Parquet file that are stored together, at least


class NucleiTableExporter(Exporter):
    """`nuclei.csv` and `nuclei.parquet`: a row for each nucleus of each image."""

    name = "nuclei"
    part_suffix = ".parquet"

    def write(self, job: ExportJob, columns: Columns) -> None:
        """See `Exporter.write`."""
        count = len(job.nuclei)
        place = {"image": np.full(count, job.name, object).astype(str)}
        if job.slice_number is not None:
            place["slice"] = np.full(count, job.slice_number)
        write_part(job.part(self), {**place, **columns})

    def join(self, output: Path, parts: Sequence[Path]) -> list[Path]:
        """See `Exporter.join`."""
        return join_tables(output / "nuclei", parts)


class VolumeTableExporter(Exporter):
    """`volumes.csv` and `volumes.parquet`: a row for each 3-D nucleus of each stack."""

    name = "volumes"
    stack_suffix = ".volumes.parquet"

    def write_stack(self, job: StackJob) -> None:
        """See `Exporter.write_stack`."""
        place = {"image": np.full(job.count, job.name, object).astype(str)}
        columns = measure_volumes(job.slices, job.count, job.image)
        write_part(job.parts / f"{job.name}{self.stack_suffix}", {**place, **columns})

    def join(self, output: Path, parts: Sequence[Path]) -> list[Path]:
        """See `Exporter.join`."""
        return join_tables(output / "volumes", parts) if parts else []


register(NucleiTableExporter(), always=True)
register(VolumeTableExporter(), always=True)


def write_part(path: Path, columns: Mapping[str, np.ndarray]) -> None:
    """Writes the rows of one image as Parquet."""
    with replacing(path) as file:
        pyarrow.parquet.write_table(pa.table(dict(columns)), file)


def join_tables(stem: Path, parts: Sequence[Path]) -> list[Path]:
    """Joins parts to `<stem>.csv` and `<stem>.parquet`, which are returned.

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
        for table in _gather(_fill(_read(part), schema) for part in parts):
            lines.write_table(_as_text(table))
            rows.write_table(table)
    return [stem.with_suffix(".csv"), stem.with_suffix(".parquet")]


def _read(part: Path) -> pa.Table:
    with reading(part):
        return pyarrow.parquet.ParquetFile(part).read()


def _gather(tables: Iterable[pa.Table]) -> Iterator[pa.Table]:
    """Tables of enough rows: a file of many small groups is slow and large."""
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
    """Writes rows to `<stem>.csv` and `<stem>.parquet`, which are returned. Cells that a row lacks
    are empty."""
    names = dict.fromkeys(name for row in rows for name in row)
    table = pa.table({name: [row.get(name) for row in rows] for name in names})
    with replacing(stem.with_suffix(".csv")) as file:
        pyarrow.csv.write_csv(_as_text(table), file)
    with replacing(stem.with_suffix(".parquet")) as file:
        pyarrow.parquet.write_table(table, file)
    return [stem.with_suffix(".csv"), stem.with_suffix(".parquet")]


def _common_schema(parts: Iterable[Path]) -> pa.Schema:
    schemas = set()  # of which there are few
    common = pa.schema([])
    for part in parts:
        with reading(part):
            schema = pyarrow.parquet.read_schema(part).remove_metadata()
        if schema not in schemas:
            schemas.add(schema)
            common = pa.unify_schemas([common, schema], promote_options="permissive")
    return common


def _fill(table: pa.Table, schema: pa.Schema) -> pa.Table:
    arrays = [
        table[field.name].cast(field.type)
        if field.name in table.column_names
        else pa.nulls(len(table), field.type)
        for field in schema
    ]
    return pa.Table.from_arrays(arrays, schema=schema)


def _as_text(table: pa.Table) -> pa.Table:
    """Numbers rounded, NaN as an empty cell, and text that no spreadsheet takes for a formula."""
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
    """Floats with six significant digits, and at least four decimals."""
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        digits = np.nan_to_num(np.floor(np.log10(np.abs(values))), posinf=0.0, neginf=0.0)
        scale = 10.0 ** np.clip(5 - digits, 4, 300)
        rounded = np.rint(values * scale) / scale
    return np.where(np.isfinite(rounded), rounded, values)
