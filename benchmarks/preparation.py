"""Preparation of the whole set, against its floor: decoding each mask once in two processes."""

import subprocess
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import cv2
import psutil

from benchmarks.timing import Row, best_in_turn

WORKERS = 2


def decode(path: str) -> int:
    """Decodes one mask; returns its number of pixels."""
    return cv2.imread(path, cv2.IMREAD_UNCHANGED).size


def decode_all(paths: list[str]) -> int:
    """Decodes all masks in `WORKERS` processes."""
    with ProcessPoolExecutor(WORKERS) as pool:
        return sum(pool.map(decode, paths, chunksize=64))


def start(images: Path, output: Path) -> psutil.Popen:
    """Starts the tool as a user does."""
    command = [sys.executable, "tools/prepare_dsb2018.py", "--input", str(images)]
    command += ["--splits", "datasets/splits", "--output", str(output), "--workers", str(WORKERS)]
    return psutil.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def prepare(images: Path, output: Path) -> None:
    """Runs the tool to its end."""
    if start(images, output).wait():
        raise RuntimeError(f"tools/prepare_dsb2018.py --input {images} failed; run it to see why")


def peak_memory(images: Path, output: Path) -> int:
    """Most memory of all processes of the tool, bytes; a run of its own, as watching takes time."""
    process, most = start(images, output), 0
    while process.poll() is None:
        most = max(most, memory(process))
        time.sleep(0.1)
    return most


def memory(process: psutil.Process) -> int:
    """Memory of a process and those below it, bytes; what they share is counted once (PSS)."""
    total = 0
    try:
        for each in (process, *process.children(recursive=True)):
            total += each.memory_full_info().pss
    except psutil.Error:  # it ended meanwhile
        pass
    return total


def measure(images: Path) -> list[Row]:
    """Rows of the report."""
    masks = [str(path) for path in sorted(images.glob("*/masks/*.png"))]
    with tempfile.TemporaryDirectory() as folder:
        floor, whole = best_in_turn(
            lambda: decode_all(masks), lambda: prepare(images, Path(folder))
        )
        peak = peak_memory(images, Path(folder))
    return [
        Row(f"floor: {len(masks)} masks decoded in {WORKERS} processes", f"{floor:.1f} s"),
        Row("preparation, the whole command", f"{whole:.1f} s"),
        Row("preparation / floor", f"{whole / floor:.2f}", "≤ 1.3"),
        Row("preparation, memory of all processes", f"{peak / 1e6:.0f} MB", "< 600 MB"),
    ]
