"""A score with its uncertainty."""

from typing import NamedTuple


class Interval(NamedTuple):
    """A score, or a difference of scores, with the bounds of its confidence interval."""

    value: float
    low: float
    high: float
