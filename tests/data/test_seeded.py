import itertools
import random
import subprocess
import sys

import numpy as np
import pytest
import torch

from dsb2018.data.seeded import (
    SeededBatches,
    SeededSamples,
    build_loader,
    draw_indices,
    mix_seeds,
)

FACTORS = torch.tensor([1.0, 1.0, 1.5, 2.0, 1.0])


def first_batches(count, *args, **kwargs):
    return list(itertools.islice(SeededBatches(FACTORS, 7, *args, **kwargs), count))


def test_factors_are_the_average_draws_per_round():
    rounds = 2000
    indices = list(itertools.islice(draw_indices(FACTORS, 0), int(rounds * FACTORS.sum())))
    counts = np.bincount(indices) / rounds
    np.testing.assert_allclose(counts, FACTORS, atol=0.02)
    first_round = indices[:6]  # a round has 6 or 7 indices
    assert {0, 1, 2, 3, 4} <= set(indices[:7])
    assert first_round != sorted(first_round)


def test_equal_seeds_give_equal_batches():
    assert first_batches(5, 4) == first_batches(5, 4)
    other = list(itertools.islice(SeededBatches(FACTORS, 8, 4), 5))
    assert other != first_batches(5, 4)
    seeds = [seed for batch in first_batches(50, 4) for _, seed in batch]
    assert len(set(seeds)) == 200  # repeated images get new augmentations


def test_start_skips_batches():
    assert first_batches(4, 3, start=6) == first_batches(10, 3)[6:]


@pytest.mark.parametrize("world_size", [2, 3])
def test_processes_divide_the_batches_of_a_single_process(world_size):
    expected = first_batches(4, 6, start=2)
    size = 6 // world_size
    batches_by_rank = [
        first_batches(4, size, start=2, rank=rank, world_size=world_size)
        for rank in range(world_size)
    ]
    joined = [[*itertools.chain(*batches)] for batches in zip(*batches_by_rank, strict=True)]
    assert joined == expected


def draw_random_numbers(item):
    """Returns a random number of NumPy, Python and torch."""
    return item["name"], np.random.rand(), random.random(), torch.rand(1).item()


@pytest.mark.parametrize("workers", [1, 2])
def test_number_of_workers_does_not_change_the_batches(workers):
    items = [{"name": name} for name in "abcde"]
    loaders = [
        build_loader(
            SeededSamples(items, draw_random_numbers), SeededBatches(FACTORS, 7, 4), num_workers
        )
        for num_workers in (0, workers)
    ]
    expected, batches = (list(itertools.islice(loader, 6)) for loader in loaders)
    assert batches == expected
    assert len({sample[1:] for batch in expected for sample in batch}) == 24


def test_mixed_seeds_are_unique():
    seeds = {mix_seeds(a, b) for a in range(40) for b in range(40)}
    assert len(seeds) == 1600
    assert all(0 <= seed < 2**32 for seed in seeds)


LOADER_AFTER_OPENCV_THREADS = """
import itertools
import cv2, numpy as np, torch
from dsb2018.data.seeded import SeededBatches, SeededSamples, build_loader

cv2.setNumThreads(2)
image = np.random.rand(2000, 2000).astype(np.float32)
cv2.GaussianBlur(image, (0, 0), 3)
cv2.connectedComponents((image > 0.5).astype(np.uint8))
samples = SeededSamples([{}] * 4, lambda item: cv2.GaussianBlur(image, (0, 0), 2).mean())
loader = build_loader(samples, SeededBatches(torch.ones(4), 1, 2), num_workers=1)
print(len(list(itertools.islice(loader, 2))))
"""


def test_workers_start_after_opencv_used_threads(project):
    """A forked process inherits OpenCV's locks but not its threads, as after an evaluation."""
    command = [sys.executable, "-W", "ignore", "-c", LOADER_AFTER_OPENCV_THREADS]
    process = subprocess.run(
        command, cwd=project, capture_output=True, text=True, timeout=100, check=True
    )
    assert process.stdout == "2\n"
