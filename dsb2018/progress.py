"""Progress of long loops: a bar on a terminal, else a line now and then, for log files."""

import sys
import time
from collections.abc import Iterable, Iterator
from datetime import timedelta
from typing import TypeVar

from tqdm import tqdm

from dsb2018.cli import report

PERIOD = 30.0  # seconds between two lines

Item = TypeVar("Item")


def progress(items: Iterable[Item], unit: str, total: int) -> Iterator[Item]:
    """Iterates over items and reports the progress on the standard error stream.

    Args:
        items: the items.
        unit: what an item is, in the singular.
        total: number of items.
    """
    if sys.stderr.isatty():
        yield from tqdm(items, unit=unit, total=total, leave=False)
        return
    start = reported = time.monotonic()
    for number, item in enumerate(items, start=1):
        yield item
        now = time.monotonic()
        if now - reported >= PERIOD and number < total:
            reported = now
            left = timedelta(seconds=round((now - start) * (total - number) / number))
            report(f"{unit} {number} of {total} done, about {left} left")
