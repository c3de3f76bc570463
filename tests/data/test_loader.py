import itertools
import random
import subprocess
import sys

import numpy as np
import pytest
import torch

from dsb2018.data.loader import (
    SeededBatches,
    SeededSamples,
    build_loader,
    draw_indices,
    mix_seeds,
)

FACTORS = torch.tensor([1.0, 1.0, 1.5, 2.0, 1.0])


def keys(count, *args, **kwargs):
    return list(itertools.islice(SeededBatches(FACTORS, 7, *args, **kwargs), count))


def test_a_round_has_each_image_as_often_as_its_factor_says():
    rounds = 2000
    drawn = list(itertools.islice(draw_indices(FACTORS, 0), int(rounds * FACTORS.sum())))
    counts = np.bincount(drawn) / rounds
    np.testing.assert_allclose(counts, FACTORS, atol=0.02)
    first = drawn[:6]  # the shortest a round can be
    assert {0, 1, 2, 3, 4} <= set(drawn[:7])
    assert first != sorted(first)


def test_order_and_seeds_follow_from_the_seed():
    assert keys(5, 4) == keys(5, 4)
    other = list(itertools.islice(SeededBatches(FACTORS, 8, 4), 5))
    assert other != keys(5, 4)
    seeds = [seed for batch in keys(50, 4) for _, seed in batch]
    assert len(set(seeds)) == 200  # an image that comes again is augmented anew


def test_a_later_start_goes_on_with_the_same_batches():
    assert keys(4, 3, start=6) == keys(10, 3)[6:]


@pytest.mark.parametrize("world_size", [2, 3])
def test_processes_share_the_batches_of_one(world_size):
    whole = keys(4, 6, start=2)
    size = 6 // world_size
    parts = [keys(4, size, start=2, rank=rank, world_size=world_size) for rank in range(world_size)]
    joined = [[*itertools.chain(*batches)] for batches in zip(*parts, strict=True)]
    assert joined == whole


def noise(item):
    """A sample of each kind of random number."""
    return item["name"], np.random.rand(), random.random(), torch.rand(1).item()


@pytest.mark.parametrize("workers", [1, 2])
def test_worker_processes_change_nothing(workers):
    items = [{"name": name} for name in "abcde"]
    loaders = [
        build_loader(SeededSamples(items, noise), SeededBatches(FACTORS, 7, 4), number)
        for number in (0, workers)
    ]
    alone, together = (list(itertools.islice(loader, 6)) for loader in loaders)
    assert alone == together
    assert len({sample[1:] for batch in alone for sample in batch}) == 24


def test_mixed_seeds_are_all_different():
    seeds = {mix_seeds(a, b) for a in range(40) for b in range(40)}
    assert len(seeds) == 1600
    assert all(0 <= seed < 2**32 for seed in seeds)


AFTER_THREADS = """
import itertools
import cv2, numpy as np, torch
from dsb2018.data.loader import SeededBatches, SeededSamples, build_loader

cv2.setNumThreads(2)
image = np.random.rand(2000, 2000).astype(np.float32)
cv2.GaussianBlur(image, (0, 0), 3)
cv2.connectedComponents((image > 0.5).astype(np.uint8))
samples = SeededSamples([{}] * 4, lambda item: cv2.GaussianBlur(image, (0, 0), 2).mean())
loader = build_loader(samples, SeededBatches(torch.ones(4), 1, 2), num_workers=1)
print(len(list(itertools.islice(loader, 2))))
"""


def test_workers_start_where_opencv_has_had_threads(project):
    """As after an evaluation; a forked process has OpenCV's locks, but not its threads."""
    command = [sys.executable, "-W", "ignore", "-c", AFTER_THREADS]
    done = subprocess.run(
        command, cwd=project, capture_output=True, text=True, timeout=100, check=True
    )
    assert done.stdout == "2\n"
