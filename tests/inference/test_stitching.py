import cv2
import numpy as np
import pytest

from dsb2018.inference.tiling import stitching
from dsb2018.inference.tiling.array_cache import delete_caches
from dsb2018.inference.tiling.cache import TileCache
from dsb2018.inference.tiling.stitching import TileNucleus, find_in_tile, find_in_tiles, stitch
from dsb2018.inference.tiling.tiles import STRIDE, Tiling, WindowReader, divide
from dsb2018.structures.masks import Crop
from dsb2018.structures.nuclei import Nuclei
from tests.inference.drawing import draw_discs, find_bright, same_nuclei

SMALL = Tiling(edge=96, margin=24, whole=96)


def make_reader(labels: np.ndarray) -> WindowReader:
    """Returns a reader of an image in which the nuclei are bright."""
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
def test_nuclei_are_complete_and_unique(seed):
    labels = draw_discs(seed=seed, count=120)  # at most 23 pixels wide, less than the margin
    nuclei = find_in_tiles(make_reader(labels), labels.shape, find_bright, SMALL)
    assert len(nuclei) == labels.max()
    assert same_nuclei(nuclei.labels, labels)


@pytest.mark.parametrize("seed", range(3))
def test_nuclei_larger_than_the_margin_are_merged(seed):
    labels = draw_discs(seed=seed, count=12, radius=(30, 70), size=(500, 500))
    nuclei = find_in_tiles(make_reader(labels), labels.shape, find_bright, SMALL)
    assert same_nuclei(nuclei.labels, labels)


def test_merged_nuclei_have_a_maximum_size(monkeypatch):
    monkeypatch.setattr(stitching, "LARGEST", 150)
    labels = np.ones((400, 400), np.int32)
    nuclei = find_in_tiles(make_reader(labels), labels.shape, find_bright, SMALL)
    assert len(nuclei) > 4
    assert all(max(crop.mask.shape) <= 150 for crop in nuclei.crops)
    assert sum(nuclei.areas) == np.count_nonzero(nuclei.labels) > 0.95 * labels.size


def find_dilated_or_eroded(images) -> list[Nuclei]:
    """Like `find_bright`, but dilates or erodes the nuclei, depending on the tile."""
    predictions = []
    for image in images:
        is_odd = int(image.sum()) % 2
        change = cv2.dilate if is_odd else cv2.erode
        predictions += find_bright([change(image, np.ones((3, 3), np.uint8))])
    return predictions


@pytest.mark.parametrize("seed", range(6))
def test_tiles_with_different_outlines(seed):
    labels = draw_discs(seed=seed, count=150, radius=(5, 11))
    nuclei = find_in_tiles(make_reader(labels), labels.shape, find_dilated_or_eroded, SMALL)
    coverage = np.zeros(labels.shape, int)
    for crop in nuclei.crops:
        h, w = crop.mask.shape
        coverage[crop.y : crop.y + h, crop.x : crop.x + w] += crop.mask
    assert coverage.max() == 1  # no overlaps
    matches = [set(np.unique(labels[nuclei.labels == n])) - {0} for n in range(1, len(nuclei) + 1)]
    assert all(matches)  # no false nuclei
    matched_labels = [label for match in matches for label in match]
    duplicates = len(matched_labels) - len(set(matched_labels))
    assert duplicates <= 2  # dilation joins discs that nearly touch
    assert len(set(matched_labels)) == labels.max()


def make_nucleus(y, x, h, w, distance=0, cut=False) -> TileNucleus:
    return TileNucleus(Crop(x, y, np.ones((h, w), bool)), 0.5, distance, cut)


def stitched_boxes(*tiles: list[TileNucleus]) -> list:
    return [crop.box for crop in stitch((50, 50), tiles).crops]


def test_conflicts_between_tiles():
    # The owner predicts a complete nucleus, another tile a part of it.
    complete, part = make_nucleus(10, 10, 10, 10), make_nucleus(10, 10, 10, 5, distance=2, cut=True)
    assert stitched_boxes([complete], [part]) == [[10, 10, 10, 10]]
    # The owner predicts a part of a nucleus, another tile the complete nucleus.
    part, complete = make_nucleus(10, 10, 10, 6, cut=True), make_nucleus(10, 10, 10, 10, distance=2)
    assert stitched_boxes([part], [complete]) == [[10, 10, 10, 10]]
    # Two tiles predict different parts, which are merged.
    left, right = make_nucleus(10, 10, 10, 9, cut=True), make_nucleus(10, 13, 10, 9, cut=True)
    assert stitched_boxes([left], [right]) == [[10, 10, 12, 10]]
    # Two tiles predict a nucleus that neither of them owns.
    first, second = make_nucleus(1, 1, 4, 4, distance=2), make_nucleus(1, 1, 4, 5, distance=2)
    assert len(stitched_boxes([first], [second])) == 1
    # A tile predicts a part of a nucleus that the owner does not predict.
    assert stitched_boxes([], [make_nucleus(1, 1, 4, 4, distance=2, cut=True)]) == []
    # A tile predicts a nucleus far from its core that the owner does not predict.
    assert stitched_boxes([], [make_nucleus(1, 1, 4, 4, distance=5)]) == []
    # Two neighbors overlap slightly.
    first, second = make_nucleus(0, 0, 10, 10), make_nucleus(0, 8, 10, 10)
    assert stitched_boxes([first], [second]) == [[0, 0, 10, 10], [10, 0, 8, 10]]
    # A nucleus inside a larger one is a duplicate.
    assert len(stitched_boxes([make_nucleus(0, 0, 20, 20)], [make_nucleus(5, 5, 4, 4)])) == 1


def test_an_image_without_nuclei():
    assert (
        len(find_in_tiles(make_reader(np.zeros((200, 200))), (200, 200), find_bright, SMALL)) == 0
    )


@pytest.mark.parametrize("margin", [-1, 33, 48, 60])
def test_margins_without_a_core_are_an_error(margin):
    with pytest.raises(ValueError, match="expected 0 to 32 pixels of overlap"):
        Tiling(edge=96, margin=margin)


def test_the_tile_cache_resumes(tmp_path):
    labels = draw_discs()
    tiles = divide(*labels.shape, SMALL)
    computed = []

    def run(fingerprint: str, tile_count: int | None = None) -> list[list[TileNucleus]]:
        cache = TileCache(tmp_path / "tiles", fingerprint)
        results = []
        for number, tile in enumerate(tiles[:tile_count]):

            def find(tile=tile, number=number):
                computed.append(number)
                return find_in_tile(tile, make_reader(labels), labels.shape, find_bright)

            cache.keep(number, find)
            results.append(cache.read(number, find))
        return results

    run("a", 5)
    assert computed == [0, 1, 2, 3, 4]
    results = run("a")
    assert computed == list(range(len(tiles)))  # finished tiles were not computed again
    assert same_nuclei(stitch(labels.shape, results).labels, labels)
    run("another model", 2)
    assert computed[-2:] == [0, 1]
    delete_caches(tmp_path)
    assert not (tmp_path / "tiles").exists()
