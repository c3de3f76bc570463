"""How a folder of results is recognized."""

from pathlib import Path

RECORDS = ".done"  # folder in a folder of results: what is finished


def is_results(folder: Path) -> bool:
    """Returns whether a prediction has written its results to a folder."""
    return (folder / RECORDS).is_dir()
