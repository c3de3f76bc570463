"""Text in CSV files that spreadsheets open.

A spreadsheet takes a cell that begins with `=`, `+`, `-` or `@` for a formula, which can run
programs (OWASP, "CSV Injection"). An apostrophe before it keeps the cell text; `unquote_cell`
removes the apostrophe again.
"""

import csv
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TextIO

FORMULA = r"^'*[=+\-@\t\r]"  # of a cell that is quoted
QUOTED = r"^'+[=+\-@\t\r]"  # of one that was


def quote_cell(text: str) -> str:
    """Text that a spreadsheet does not take for a formula."""
    return f"'{text}" if re.match(FORMULA, text) else text


def unquote_cell(text: str) -> str:
    """The text that `quote_cell` was given."""
    return text[1:] if re.match(QUOTED, text) else text


def write_rows(file: TextIO, rows: Iterable[Sequence]) -> None:
    """Writes rows of text, numbers and None; text is quoted by `quote_cell`."""
    table = csv.writer(file, lineterminator="\n")
    for row in rows:
        table.writerow([quote_cell(cell) if isinstance(cell, str) else cell for cell in row])


def read_rows(path: Path) -> Iterator[dict[str, str]]:
    """The rows of a file of `write_rows`, by the names of the columns."""
    with open(path, newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            yield {name: unquote_cell(cell) for name, cell in row.items()}
