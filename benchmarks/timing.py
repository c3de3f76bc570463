"""What all benchmarks share."""

import statistics
import time
from collections.abc import Callable
from typing import NamedTuple


class Row(NamedTuple):
    """One line of the report: what was measured, the figure, and what it should be."""

    what: str
    figure: str
    goal: str = ""


def seconds(function: Callable[[], object]) -> float:
    """Wall time of one call."""
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def best_in_turn(first: Callable, second: Callable, rounds: int = 3) -> tuple[float, float]:
    """Least wall time of each of two functions that run in turn, so that a busy moment of the
    machine hits both."""
    times = [(seconds(first), seconds(second)) for _ in range(rounds)]
    return min(t[0] for t in times), min(t[1] for t in times)


def median(values: list[float]) -> float:
    """The middle value."""
    return statistics.median(values)
