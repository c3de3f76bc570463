"""Builds batches of training samples.

The images of a batch and their augmentation depend only on the seed and on the number of the batch.
They do not depend on the number of worker processes or training processes, or on whether the
training was stopped and resumed.
"""

import atexit
import ctypes
import functools
import itertools
import multiprocessing
import os
import random
import signal
from collections.abc import Callable, Iterator

import cv2
import numpy as np
import torch
from detectron2.data import DatasetFromList
from torch.utils.data import DataLoader, Dataset, Sampler


def draw_indices(factors: torch.Tensor, seed: int) -> Iterator[int]:
    """Yields an infinite sequence of image indices, shuffled in each round.

    Args:
        factors: (number of images,) float32, average number of times that each image is drawn in a
            round.
        seed: random seed.
    """
    generator = torch.Generator().manual_seed(seed)
    while True:
        counts = (factors + torch.rand(len(factors), generator=generator)).long()
        indices = torch.repeat_interleave(counts)
        yield from indices[torch.randperm(len(indices), generator=generator)].tolist()


def mix_seeds(*numbers: int) -> int:
    """Combines several numbers into one seed, 0 to 2**32 - 1."""
    return int(np.random.SeedSequence(numbers).generate_state(1)[0])


class SeededBatches(Sampler[list[tuple[int, int]]]):
    """An infinite sampler of batches. Each entry is (image index, seed of its augmentation)."""

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
            seed: random seed of the order and of the augmentations.
            batch_size: number of images in a batch of this process.
            start: number of batches of this process to skip.
            rank: index of this process.
            world_size: number of processes. Together, their batches are those of a single process
                with a `batch_size` that is `world_size` times as large.
        """
        self._factors, self._seed, self._batch_size = factors, seed, batch_size
        self._first, self._step = start * world_size + rank, world_size

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        draws = enumerate(draw_indices(self._factors, self._seed))
        batches = iter(lambda: list(itertools.islice(draws, self._batch_size)), [])
        for batch in itertools.islice(batches, self._first, None, self._step):
            yield [(index, mix_seeds(self._seed, number)) for number, index in batch]


class SeededSamples(Dataset):
    """Maps dataset dicts to samples. Each sample has its own random seed."""

    def __init__(self, dataset_dicts: list[dict], mapper: Callable[[dict], dict]):
        """
        Args:
            dataset_dicts: Detectron2's standard dicts.
            mapper: function that converts a dict to a sample. It may use the random numbers of
                Python, NumPy and torch.
        """
        # Serialized into one array, which the worker processes share.
        self._items = DatasetFromList(dataset_dicts, copy=False, serialize=True)
        self._mapper = mapper

    def __len__(self) -> int:
        return len(self._items)

    def __getitem__(self, key: tuple[int, int]) -> dict:
        index, seed = key
        random.seed(seed)
        np.random.seed(seed)
        # `torch.manual_seed` also records a call for each GPU, and never forgets it in a worker.
        torch.default_generator.manual_seed(seed)
        return self._mapper(self._items[index])


def build_loader(samples: SeededSamples, batches: SeededBatches, num_workers: int) -> DataLoader:
    """Builds an infinite loader, whose batches are lists of samples.

    Args:
        samples: dataset of the samples.
        batches: sampler of the batches.
        num_workers: number of worker processes; 0: samples are loaded in the main process.
    """
    return DataLoader(
        samples,
        batch_sampler=batches,
        num_workers=num_workers,
        collate_fn=list,
        worker_init_fn=worker_initializer(),
        # A longer queue compensates for batches that take longer than others.
        prefetch_factor=4 if num_workers else None,
    )


@functools.cache
def _exit_flag():
    """Returns a shared-memory flag that is set when this process ends, before it joins workers."""
    flag = multiprocessing.RawValue(ctypes.c_bool, False)
    # Called before the handler that joins the workers: atexit runs handlers in reverse order.
    atexit.register(setattr, flag, "value", True)
    return flag


def worker_initializer() -> Callable[[int], None]:
    """Returns the `worker_init_fn` of a `DataLoader`.

    A worker uses one CPU core. It ignores the signals that terminals and schedulers send to all
    processes of a job, so that the training can finish its iteration. It ends with the training.
    """
    return functools.partial(_start_worker, _exit_flag())


def _start_worker(exit_flag, worker_id: int) -> None:
    def end(*_) -> None:
        if exit_flag.value:  # the main process has sent SIGTERM and joins this worker
            os._exit(0)

    cv2.setNumThreads(0)  # with 1, OpenCV waits for threads that a forked process does not have
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, end)
