"""Batches of training samples.

Which images a batch has, and what augmentation does to them, follows from the seed and the number
of the batch alone: not from the number of worker processes, of training processes, or of times that
the training was stopped and resumed.
"""

import atexit
import ctypes
import functools
import itertools
import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator

import cv2
import numpy as np
import torch
from detectron2.data import DatasetFromList
from detectron2.utils.env import seed_all_rng
from torch.utils.data import DataLoader, Dataset, Sampler


def draw_indices(factors: torch.Tensor, seed: int) -> Iterator[int]:
    """Indices of images without end, shuffled anew in each round.

    Args:
        factors: (number of images,) float32, how often each is drawn in a round, on average.
        seed: of the random numbers.
    """
    generator = torch.Generator().manual_seed(seed)
    while True:
        counts = (factors + torch.rand(len(factors), generator=generator)).long()
        drawn = torch.repeat_interleave(counts)
        yield from drawn[torch.randperm(len(drawn), generator=generator)].tolist()


def mix_seeds(*numbers: int) -> int:
    """One seed of several numbers, 0 to 2**32 - 1."""
    return int(np.random.SeedSequence(numbers).generate_state(1)[0])


class SeededBatches(Sampler[list[tuple[int, int]]]):
    """Batches, without end, of (index of an image, seed of its augmentation)."""

    def __init__(
        self,
        factors: torch.Tensor,
        seed: int,
        batch_size: int,
        start: int = 0,
        rank: int = 0,
        world_size: int = 1,
    ):
        """
        Args:
            factors: see `draw_indices`.
            seed: of order and augmentations.
            batch_size: of this process.
            start: number of batches that this process has had before.
            rank: number of this process.
            world_size: number of processes; together, their batches are what one process would
                get with a `batch_size` so many times as large.
        """
        self._factors, self._seed, self._batch_size = factors, seed, batch_size
        self._first, self._step = start * world_size + rank, world_size

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        places = enumerate(draw_indices(self._factors, self._seed))
        batches = iter(lambda: list(itertools.islice(places, self._batch_size)), [])
        for batch in itertools.islice(batches, self._first, None, self._step):
            yield [(index, mix_seeds(self._seed, place)) for place, index in batch]


class SeededSamples(Dataset):
    """Mapped dataset dicts, each with random numbers of its own."""

    def __init__(self, dataset_dicts: list[dict], mapper: Callable[[dict], dict]):
        """
        Args:
            dataset_dicts: Detectron2's standard dicts.
            mapper: makes a sample of one; it may draw from any of Python's, NumPy's and torch's
                random numbers.
        """
        # Packed into one array, which worker processes share.
        self._items = DatasetFromList(dataset_dicts, copy=False, serialize=True)
        self._mapper = mapper

    def __len__(self) -> int:
        return len(self._items)

    def __getitem__(self, key: tuple[int, int]) -> dict:
        index, seed = key
        seed_all_rng(seed)
        return self._mapper(self._items[index])


def build_loader(samples: SeededSamples, batches: SeededBatches, num_workers: int) -> DataLoader:
    """An iterable of lists of samples, without end.

    Args:
        samples, batches: what is in the batches.
        num_workers: processes that make samples in advance; 0: none.
    """
    return DataLoader(
        samples,
        batch_sampler=batches,
        num_workers=num_workers,
        collate_fn=list,
        worker_init_fn=worker_initializer(),
        # Batches differ in cost; a longer queue evens that out.
        prefetch_factor=4 if num_workers else None,
    )


@functools.cache
def _process_ends():
    """A flag in shared memory that is set when this process ends, before it waits for workers."""
    flag = multiprocessing.RawValue(ctypes.c_bool, False)
    # `atexit` calls last what was registered first, and multiprocessing has waited for long.
    atexit.register(setattr, flag, "value", True)
    return flag


def worker_initializer() -> Callable[[int], None]:
    """The `worker_init_fn` of a `DataLoader`.

    A worker uses one processor. It ignores the signals by which a terminal or a scheduler stops all
    processes of a job, so that the training can finish its iteration, and ends with the training.
    """
    return functools.partial(_start_worker, _process_ends())


def _start_worker(process_ends, worker_id: int) -> None:
    def end(*_) -> None:
        if process_ends.value:  # multiprocessing sends SIGTERM then, and waits
            os._exit(0)

    cv2.setNumThreads(0)  # 1 would wait for threads that a forked process does not have
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, end)
