"""Time of the preparation, compared with decoding each mask once in two processes."""

import subprocess
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import cv2
import psutil

from benchmarks.timing import Row, best_times

WORKERS = 2


def decode(path: str) -> int:
    """Decodes one mask; returns its number of pixels."""
    return cv2.imread(path, cv2.IMREAD_UNCHANGED).size


def decode_all(paths: list[str]) -> int:
    """Decodes all masks in `WORKERS` processes; returns the number of pixels."""
    with ProcessPoolExecutor(WORKERS) as pool:
        return sum(pool.map(decode, paths, chunksize=64))


def start(images: Path, output: Path) -> psutil.Popen:
    """Starts `tools/prepare_dsb2018.py`."""
    command = [sys.executable, "tools/prepare_dsb2018.py", "--input", str(images)]
    command += ["--splits", "datasets/splits", "--output", str(output), "--workers", str(WORKERS)]
    return psutil.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def prepare(images: Path, output: Path) -> None:
    """Runs `tools/prepare_dsb2018.py`.

    Raises:
        RuntimeError: the command failed.
    """
    if start(images, output).wait():
        raise RuntimeError(
            f"tools/prepare_dsb2018.py --input {images} --splits datasets/splits failed; run it to "
            "see the error"
        )


def peak_memory(images: Path, output: Path) -> int:
    """Returns the peak memory of all processes of the tool, in bytes.

    This is a separate run, because sampling the memory slows the tool down.
    """
    process, peak = start(images, output), 0
    while process.poll() is None:
        peak = max(peak, memory(process))
        time.sleep(0.1)
    return peak


def memory(process: psutil.Process) -> int:
    """Returns the memory of a process and its descendants, in bytes.

    Memory that they share is counted once (PSS).
    """
    total = 0
    try:
        for member in (process, *process.children(recursive=True)):
            total += member.memory_full_info().pss
    except psutil.Error:  # a process ended in the meantime
        pass
    return total


def measure(images: Path) -> list[Row]:
    """Returns the rows of the report, for a DSB folder."""
    masks = [str(path) for path in sorted(images.glob("*/masks/*.png"))]
    with tempfile.TemporaryDirectory() as folder:
        decoding, preparation = best_times(
            lambda: decode_all(masks), lambda: prepare(images, Path(folder))
        )
        peak = peak_memory(images, Path(folder))
    return [
        Row(f"decoding {len(masks)} masks in {WORKERS} processes", f"{decoding:.1f} s"),
        Row("preparation, the whole command", f"{preparation:.1f} s"),
        Row("preparation / decoding", f"{preparation / decoding:.2f}", "≤ 1.3"),
        Row("preparation, memory of all processes", f"{peak / 1e6:.0f} MB", "< 600 MB"),
    ]
