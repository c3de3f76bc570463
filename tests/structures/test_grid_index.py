import numpy as np

from dsb2018.structures.grid_index import GridIndex
from dsb2018.structures.masks import Crop


def test_near_finds_all_overlapping_boxes_and_few_others():
    rng = np.random.default_rng(0)
    index, crops = GridIndex(32), []
    for number in range(200):
        x, y = rng.integers(0, 480, 2)
        crops.append(Crop(int(x), int(y), np.ones(rng.integers(1, 60, 2), bool)))
        index.add(number, crops[-1])
    for _ in range(50):
        y, x, height, width = (int(value) for value in rng.integers(1, 100, 4))
        overlapping = {
            number
            for number, crop in enumerate(crops)
            if crop.y < y + height and y < crop.bottom and crop.x < x + width and x < crop.right
        }
        near = index.near(y, x, height, width)
        assert overlapping <= near
        for number in near - overlapping:  # at most a cell away
            crop = crops[number]
            assert crop.y < y + height + 32
            assert y - 32 < crop.bottom
            assert crop.x < x + width + 32
            assert x - 32 < crop.right
