"""Reads and writes CSV files that are safe to open in spreadsheets.

A spreadsheet interprets a cell that begins with `=`, `+`, `-` or `@` as a formula, which can run
programs (OWASP, "CSV Injection"). An apostrophe at the beginning marks the cell as text.
`unquote_cell` removes the apostrophe.
"""

import csv
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TextIO

FORMULA = r"^'*[=+\-@\t\r]"  # a cell that must be quoted
QUOTED = r"^'+[=+\-@\t\r]"  # a quoted cell


def quote_cell(text: str) -> str:
    """Adds an apostrophe to text that a spreadsheet would interpret as a formula."""
    return f"'{text}" if re.match(FORMULA, text) else text


def unquote_cell(text: str) -> str:
    """Removes the apostrophe that `quote_cell` added."""
    return text[1:] if re.match(QUOTED, text) else text


def write_rows(file: TextIO, rows: Iterable[Sequence]) -> None:
    """Writes rows of text, numbers and None. Text is quoted by `quote_cell`."""
    table = csv.writer(file, lineterminator="\n")
    for row in rows:
        table.writerow([quote_cell(cell) if isinstance(cell, str) else cell for cell in row])


def read_rows(path: Path) -> Iterator[dict[str, str]]:
    """Reads the rows of a file that `write_rows` wrote, as {column: text}."""
    with open(path, newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            yield {name: unquote_cell(cell) for name, cell in row.items()}
