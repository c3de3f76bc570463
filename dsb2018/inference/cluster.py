"""Shares the files of a prediction, and the parts of large images, among workers of Dask.

Only names and messages travel between the processes. Each worker opens the model and the image
files by itself. The results land in the output folder, which all workers must see under the same
path.
"""

import json
import logging
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import CancelledError
from contextlib import contextmanager
from importlib.util import find_spec
from math import ceil
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from dsb2018.cli import report
from dsb2018.cores import usable_cores
from dsb2018.errors import UsageError
from dsb2018.io.names import printable
from dsb2018.progress import PERIOD, progress

if TYPE_CHECKING:
    from distributed import Client, Future

NamedPath = tuple[str, Path]  # name of the results and path of an image file
Item = TypeVar("Item")
logger = logging.getLogger(__name__)
LARGEST_TASK = 32  # files, or parts of a large image
SHARES = 4  # tasks for each worker, if there are enough files, so that all end at the same time
PATIENCE = 20  # for the connection to a scheduler, seconds
NOISY = ("distributed", "distributed.client", "distributed.utils", "tornado.application", "asyncio")
TOPIC = "dsb2018-parts"  # of the events that report progress
THREAD_LIMITS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
KILLED = "its worker was killed twice, perhaps because memory ran out"


def read_address(file: Path) -> str:
    """The address in the JSON file that a scheduler writes when it starts.

    Waits for a file that is missing or incomplete: a shared file system may show it before its
    content.

    Raises:
        ValueError: the file is not there, or has no address, after `PATIENCE` seconds.
    """
    end = time.monotonic() + PATIENCE
    while True:
        try:
            return json.loads(file.read_text())["address"]
        except (FileNotFoundError, ValueError, KeyError, TypeError):
            if time.monotonic() > end:
                raise ValueError("the file does not name a scheduler") from None
        time.sleep(0.1)


@contextmanager
def open_client(address: str | None, workers: int | None) -> Iterator["Client"]:
    """Connects to a Dask cluster, or starts one on this machine.

    Args:
        address: of the scheduler, such as `tcp://10.0.0.1:8786`, or the JSON file that it writes;
            None: a cluster is started.
        workers: number of processes of the started cluster.

    Raises:
        ImportError: Dask is not installed.
        UsageError: there is no scheduler at this address.
    """
    if not find_spec("distributed"):
        raise ImportError('--workers and --dask need: pip install "dsb2018[dask]"')
    import dask
    from distributed import Client, LocalCluster

    for name in NOISY:  # failures are reported by file
        logging.getLogger(name).setLevel(logging.CRITICAL)

    if address:
        try:
            place = read_address(Path(address)) if address.endswith(".json") else address
            client = Client(place, timeout=PATIENCE)
        except (OSError, ValueError) as error:
            raise UsageError(f"--dask {address}: no scheduler of Dask there ({error})") from error
        with client:
            yield client
        return
    count = workers or 1
    threads = str(max(1, usable_cores() // count))
    # A task whose worker dies fails at once; `share_files` repeats it.
    environment = dict.fromkeys(THREAD_LIMITS, threads)
    options = {
        "distributed.scheduler.allowed-failures": 0,
        # Replaces Dask's MALLOC_TRIM_THRESHOLD_, with which the system takes back and clears the
        # memory of each large array: a fifth of the time of the workers.
        "distributed.nanny.pre-spawn-environ": environment,
    }
    with (
        dask.config.set(options),
        LocalCluster(
            n_workers=count,
            threads_per_worker=1,
            dashboard_address=":0",
            silence_logs=logging.CRITICAL,
        ) as cluster,
        Client(cluster) as client,
    ):
        yield client


def share_files(
    client: "Client",
    work: Callable[[Sequence[NamedPath], frozenset[str]], list[str]],
    images: Sequence[NamedPath],
) -> list[str]:
    """Processes image files on the workers of a cluster.

    A task has several files. If its worker dies, the files of the task are repeated one by one,
    with nothing else running, so that a file that kills its worker is recognized.

    Args:
        client: client of the cluster.
        work: processes some files and returns an error message for each that failed; it gets the
            files, and the names of all files.
        images: all files.

    Returns:
        An error message for each file that failed.

    Raises:
        ConnectionError: the scheduler has ended, or all workers that the command started.
    """
    from distributed import KilledWorker
    from distributed.comm import CommClosedError

    if not _workers(client):
        logger.warning("waiting for a worker of Dask")
    client.subscribe_topic(TOPIC, PartProgress())
    names = client.submit(frozenset, [name for name, _ in images], pure=False)
    tasks = {
        client.submit(work, part, names, pure=False): part
        for part in divide_evenly(images, max(1, _workers(client)))
    }
    failed, suspects = [], []
    try:
        for task in progress(_finished(client, tasks), "task", len(tasks)):
            try:
                failed += task.result()
            except KilledWorker:
                suspects += tasks[task]
        for name, path in suspects:
            single = client.submit(work, [(name, path)], names, pure=False)
            (task,) = _finished(client, [single])
            try:
                failed += task.result()
            except KilledWorker:
                failed.append(f"{printable(path)}: {KILLED}")
    except (CancelledError, CommClosedError) as error:
        raise ConnectionError(
            "the scheduler of Dask has ended; the same command continues"
        ) from error
    return failed


def _finished(client: "Client", tasks: Iterable["Future"]) -> Iterator["Future"]:
    """Iterates over tasks as they finish.

    Raises:
        ConnectionError: all workers that the command started have ended. Workers of other clusters
            may come back.
    """
    from distributed import wait

    waiting = list(tasks)
    while waiting:
        try:
            done, rest = wait(waiting, timeout=PATIENCE, return_when="FIRST_COMPLETED")
        except TimeoutError:
            if client.cluster is not None and not _workers(client):
                raise ConnectionError(
                    "all workers have ended; the same command continues"
                ) from None
            continue
        yield from done
        waiting = list(rest)


def share_parts(work: Callable[[Sequence[int]], None], count: int, label: str) -> None:
    """Processes the parts of an image on all workers. It is called in a task, which waits.

    Args:
        work: processes the parts of the given numbers, and stores their results.
        count: number of parts.
        label: what is processed, for the progress.

    Raises:
        ValueError: the same parts killed two workers.
    """
    from distributed import KilledWorker, get_worker, worker_client

    done, worker = 0, get_worker()
    with worker_client() as client:
        parts = divide_evenly(range(count), max(1, _workers(client)))
        # An image that is in work goes first.
        tasks = [client.submit(work, part, pure=False, priority=1) for part in parts]
        for task, part in zip(tasks, parts, strict=True):
            try:
                task.result()
            except KilledWorker:
                try:
                    client.submit(work, part, pure=False, priority=1).result()
                except KilledWorker as error:
                    raise ValueError(KILLED) from error
            done += len(part)
            worker.log_event(TOPIC, (label, done, count))


class PartProgress:
    """Reports the progress of large images, which workers send to the command."""

    def __init__(self):
        self._reported = time.monotonic()

    def __call__(self, event: tuple[float, tuple[str, int, int]]) -> None:
        """Reports an event now and then: its time, and the arguments of its report."""
        label, done, count = event[1]
        now = time.monotonic()
        if now - self._reported >= PERIOD and done < count:
            self._reported = now
            report(f"{label} {done} of {count} done")


def divide_evenly(items: Sequence[Item], workers: int) -> list[Sequence[Item]]:
    """Divides items into parts for a number of workers, each with up to `LARGEST_TASK` items."""
    size = max(1, min(LARGEST_TASK, ceil(len(items) / (SHARES * workers))))
    return [items[start : start + size] for start in range(0, len(items), size)]


def _workers(client: "Client") -> int:
    """Returns the number of workers at this moment."""
    return len(client.scheduler_info(n_workers=-1)["workers"])
