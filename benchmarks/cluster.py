"""Overhead of the engine of predictions, with workers that sleep as long as a network would take.

The workers are threads of one process with the scheduler, so that a hundred of them fit on a
machine.
"""

import resource
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import dask
from distributed import Client, LocalCluster

from benchmarks.timing import Row, seconds
from dsb2018.inference.cluster import NamedPath, share_files

# Workers, fields, and seconds that a field takes one worker: 0.2 for 256×256 pixels.
RUNS = (
    (1, 100, 0.2),
    (10, 2_000, 0.2),
    (100, 20_000, 0.2),
    (10, 100_000, 0.0),
    (100, 100_000, 0.0),
)
# A hundred workers in one process would otherwise mostly watch themselves.
QUIET = {
    "distributed.worker.profile.enabled": False,
    "distributed.admin.system-monitor.interval": "10s",
    "distributed.worker.memory.target": False,
    "distributed.worker.memory.spill": False,
    "distributed.worker.memory.pause": False,
    "distributed.worker.memory.terminate": False,
}


def measure() -> list[Row]:
    """Returns the rows of the report."""
    rows = []
    for workers, fields, field in RUNS:
        images = [(f"field{n:06d}", Path(f"plate/A01/{n:06d}.tif")) for n in range(fields)]
        before = _peak_memory()
        with (
            dask.config.set(QUIET),
            LocalCluster(
                n_workers=workers, threads_per_worker=1, processes=False, dashboard_address=":0"
            ) as cluster,
            Client(cluster) as client,
        ):
            work = partial(_sleep, field)
            took = seconds(lambda c=client, w=work, i=images: share_files(c, w, i))
        ideal = fields * field / workers
        value = f"{took:.1f} s, {1e3 * (took - ideal) / fields:.2f} ms for each field more"
        rows.append(Row(f"{fields:,} fields, {workers} workers, ideal {ideal:.1f} s", value))
        memory = f"{(_peak_memory() - before) / 2**20:.0f} MiB"
        rows.append(Row("  additional memory of scheduler and workers", memory))
    return rows


def _sleep(field: float, files: Sequence[NamedPath], names: frozenset[str]) -> list[str]:
    time.sleep(field * len(files))
    return []


def _peak_memory() -> int:
    """Returns the peak memory of this process, bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
