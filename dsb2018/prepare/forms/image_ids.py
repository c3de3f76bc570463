"""Names of images."""

from collections import Counter
from collections.abc import Sequence
from pathlib import PurePosixPath


def stem(name: str) -> str:
    """Returns the last part of a path without extension, also without `.ome` before it."""
    last = PurePosixPath(name).name.rpartition(".")[0]
    return last[:-4] if last.lower().endswith(".ome") else last


def unique_ids(names: Sequence[str]) -> list[str]:
    """Returns a unique id for each file: its stem or, if several are equal, its path and stem."""
    stems = [stem(name) for name in names]
    counts = Counter(stems)
    paths = [str(PurePosixPath(name).parent / s) for name, s in zip(names, stems, strict=True)]
    ids = [s if counts[s] == 1 else p.replace("/", "_") for s, p in zip(stems, paths, strict=True)]
    counts = Counter(ids)
    return [
        i if counts[i] == 1 else name.replace("/", "_") for i, name in zip(ids, names, strict=True)
    ]
