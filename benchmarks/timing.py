"""Functions that all benchmarks use."""

import statistics
import time
from collections.abc import Callable
from typing import NamedTuple


class Row(NamedTuple):
    """One row of the report.

    Args:
        name: what was measured.
        value: the result, with its unit.
        goal: the value to reach; "" if there is none.
    """

    name: str
    value: str
    goal: str = ""


def seconds(function: Callable[[], object]) -> float:
    """Returns the wall time of one call."""
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def best_times(*functions: Callable, rounds: int = 3) -> tuple[float, ...]:
    """Returns the shortest wall time of each function, in seconds.

    The functions run alternately, so that other load on the machine affects all of them.
    """
    times = [[seconds(function) for function in functions] for _ in range(rounds)]
    return tuple(map(min, zip(*times, strict=True)))


def median(values: list[float]) -> float:
    """Returns the median."""
    return statistics.median(values)
