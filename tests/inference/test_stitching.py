import cv2
import numpy as np
import pytest

from dsb2018.inference.tiling import stitching
from dsb2018.inference.tiling.cache import TileCache, delete_caches
from dsb2018.inference.tiling.stitching import (
    STRIDE,
    TileNucleus,
    Tiling,
    divide,
    find_in_tile,
    find_in_tiles,
    stitch,
)
from dsb2018.structures.masks import Crop
from dsb2018.structures.nuclei import Nuclei
from tests.inference.drawing import draw_discs, find_bright, same_nuclei

SMALL = Tiling(edge=96, margin=24, whole=96)


def reader(labels: np.ndarray):
    image = np.repeat((labels > 0).astype(np.uint8)[..., None] * 200, 3, axis=2)
    return lambda y, x, h, w: image[y : y + h, x : x + w]


@pytest.mark.parametrize("size", [(1, 1), (48, 49), (300, 400), (97, 1000)])
def test_cores_cover_the_image_once(size):
    covered = np.zeros(size, int)
    for (y, x, h, w), (wy, wx, wh, ww) in divide(*size, SMALL):
        covered[y : y + h, x : x + w] += 1
        assert wh <= SMALL.edge
        assert ww <= SMALL.edge
        assert wy % STRIDE == wx % STRIDE == 0
        assert wy <= max(0, y - SMALL.margin) < wy + STRIDE
        assert wx <= max(0, x - SMALL.margin) < wx + STRIDE
        assert wy + wh == min(size[0], y + h + SMALL.margin)
        assert wx + ww == min(size[1], x + w + SMALL.margin)
    assert (covered == 1).all()


@pytest.mark.parametrize("seed", range(6))
def test_no_nucleus_is_cut_or_doubled(seed):
    labels = draw_discs(seed=seed, count=120)  # at most 23 pixels wide: less than the margin
    nuclei = find_in_tiles(reader(labels), labels.shape, find_bright, SMALL)
    assert len(nuclei) == labels.max()
    assert same_nuclei(nuclei.labels, labels)


@pytest.mark.parametrize("seed", range(3))
def test_nuclei_larger_than_the_margin_are_put_together(seed):
    labels = draw_discs(seed=seed, count=12, radius=(30, 70), size=(500, 500))
    nuclei = find_in_tiles(reader(labels), labels.shape, find_bright, SMALL)
    assert same_nuclei(nuclei.labels, labels)


def test_what_is_as_large_as_the_image_is_no_nucleus_of_all_tiles(monkeypatch):
    monkeypatch.setattr(stitching, "LARGEST", 150)
    labels = np.ones((400, 400), np.int32)
    nuclei = find_in_tiles(reader(labels), labels.shape, find_bright, SMALL)
    assert len(nuclei) > 4
    assert all(max(crop.mask.shape) <= 150 for crop in nuclei.crops)
    assert sum(nuclei.areas) == np.count_nonzero(nuclei.labels) > 0.95 * labels.size


def find_unsteadily(images) -> list[Nuclei]:
    """As `find_bright`, but what is seen depends on the tile: outlines grow or shrink."""
    found = []
    for image in images:
        odd = int(image.sum()) % 2
        change = cv2.dilate if odd else cv2.erode
        found += find_bright([change(image, np.ones((3, 3), np.uint8))])
    return found


@pytest.mark.parametrize("seed", range(6))
def test_tiles_that_do_not_agree_on_outlines(seed):
    labels = draw_discs(seed=seed, count=150, radius=(5, 11))
    nuclei = find_in_tiles(reader(labels), labels.shape, find_unsteadily, SMALL)
    painted = np.zeros(labels.shape, int)
    for crop in nuclei.crops:
        h, w = crop.mask.shape
        painted[crop.y : crop.y + h, crop.x : crop.x + w] += crop.mask
    assert painted.max() == 1  # they share no pixel
    held = [set(np.unique(labels[nuclei.labels == n])) - {0} for n in range(1, len(nuclei) + 1)]
    once = [label for each in held for label in each]
    assert all(each for each in held)  # nothing is made up
    assert len(once) - len(set(once)) <= 2  # dilation joins discs that nearly touch
    assert len(set(once)) == labels.max()


def found(y, x, h, w, distance=0, cut=False) -> TileNucleus:
    return TileNucleus(Crop(x, y, np.ones((h, w), bool)), 0.5, distance, cut)


def boxes(nuclei: Nuclei) -> list:
    return [crop.box for crop in nuclei.crops]


def test_who_counts():
    whole, part = found(10, 10, 10, 10), found(10, 10, 10, 5, distance=2, cut=True)
    assert boxes(stitch((50, 50), [[whole], [part]])) == [[10, 10, 10, 10]]
    # Its owner saw a part of it, another tile the whole.
    mine, theirs = found(10, 10, 10, 6, cut=True), found(10, 10, 10, 10, distance=2)
    assert boxes(stitch((50, 50), [[mine], [theirs]])) == [[10, 10, 10, 10]]
    # Two parts.
    left, right = found(10, 10, 10, 9, cut=True), found(10, 13, 10, 9, cut=True)
    assert boxes(stitch((50, 50), [[left], [right]])) == [[10, 10, 12, 10]]
    # Nobody's, as each of two tiles holds the other to be the owner.
    assert (
        len(stitch((50, 50), [[found(1, 1, 4, 4, distance=2)], [found(1, 1, 4, 5, distance=2)]]))
        == 1
    )
    # A rim of something that its owner did not take for a nucleus.
    assert len(stitch((50, 50), [[], [found(1, 1, 4, 4, distance=2, cut=True)]])) == 0
    # Something that only a tile far away took for one.
    assert len(stitch((50, 50), [[], [found(1, 1, 4, 4, distance=5)]])) == 0
    # Neighbours keep what is theirs.
    a, b = found(0, 0, 10, 10), found(0, 8, 10, 10)
    assert boxes(stitch((50, 50), [[a], [b]])) == [[0, 0, 10, 10], [10, 0, 8, 10]]
    # Mostly hidden, but not the same: a nucleus within a larger one is a double.
    assert len(stitch((50, 50), [[found(0, 0, 20, 20)], [found(5, 5, 4, 4)]])) == 1


def test_an_image_without_nuclei():
    assert len(find_in_tiles(reader(np.zeros((200, 200))), (200, 200), find_bright, SMALL)) == 0


@pytest.mark.parametrize("margin", [-1, 33, 48, 60])
def test_refuses_tiles_that_are_all_margin(margin):
    with pytest.raises(ValueError, match="expected 0 to 32 pixels of overlap"):
        Tiling(edge=96, margin=margin)


def test_tiles_are_kept_until_all_are_done(tmp_path):
    labels = draw_discs()
    tiles = divide(*labels.shape, SMALL)
    calls = []

    def run(fingerprint: str, most: int | None = None) -> list:
        store = TileCache(tmp_path / "tiles", fingerprint)
        seen = []
        for number, tile in enumerate(tiles[:most]):

            def find(tile=tile, number=number):
                calls.append(number)
                return find_in_tile(tile, reader(labels), labels.shape, find_bright)

            store.keep(number, find)
            seen.append(store.read(number, find))
        return seen

    run("a", 5)
    assert calls == [0, 1, 2, 3, 4]
    seen = run("a")
    assert calls == list(range(len(tiles)))  # those that were done were not done again
    assert same_nuclei(stitch(labels.shape, seen).labels, labels)
    run("another model", 2)
    assert calls[-2:] == [0, 1]
    delete_caches(tmp_path)
    assert not (tmp_path / "tiles").exists()
