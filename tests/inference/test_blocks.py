"""Tests of large images, whose nuclei are merged, measured and exported block by block."""

import base64
import json
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import tifffile
from roifile import ImagejRoi
from scipy.spatial.distance import cdist
from skimage.io import imread

from dsb2018.commands.predict import main
from dsb2018.inference.export.geojson import GeoJsonExporter
from dsb2018.inference.tiling import blocks as block_module
from dsb2018.inference.tiling import stitching
from dsb2018.inference.tiling.array_cache import ArrayCache
from dsb2018.inference.tiling.blocks import Blocks, blocks_of
from dsb2018.inference.tiling.stitching import find_in_tile, find_in_tiles, in_block, stitch_around
from dsb2018.inference.tiling.stored_nuclei import (
    StoredNuclei,
    block_name,
    pack_block,
    write_index,
)
from dsb2018.inference.tiling.tiles import Tiling, divide
from dsb2018.structures.masks import Crop
from dsb2018.structures.nuclei import Nuclei
from tests.inference.drawing import draw_discs, find_bright, micrograph, same_nuclei
from tests.inference.test_stitching import SMALL, make_reader

FORMATS = ["labels", "overlay", "page", "geojson", "coco", "kaggle", "rois", "crops", "cellpose"]


@pytest.fixture
def small_blocks(monkeypatch):
    """Blocks of 128 pixels, which are larger than the largest nucleus."""
    monkeypatch.setattr(block_module, "EDGE", 128)
    monkeypatch.setattr(stitching, "LARGEST", 64)


@pytest.mark.parametrize("size", [(1, 1), (128, 128), (129, 300), (700, 90)])
def test_blocks_cover_the_image_once(size):
    blocks, covered = Blocks(*size, 128), np.zeros(size, int)
    for number in range(blocks.count):
        y, x, height, width = blocks.window(number)
        covered[y : y + height, x : x + width] += 1
        assert blocks.order(y, x)[:2] == divmod(number, blocks.columns)
    assert (covered == 1).all()


def test_blocks_around_a_block():
    blocks = Blocks(500, 600, 100)  # 5 rows of 6
    assert list(blocks.around(0, 1)) == [0, 1, 6, 7]
    assert list(blocks.around(14, 1)) == [7, 8, 9, 13, 14, 15, 19, 20, 21]
    assert list(blocks.around(29, 1)) == [22, 23, 28, 29]
    assert list(blocks.around(14, 9)) == list(range(30))
    assert blocks.window(7, margin=30) == (70, 70, 160, 160)
    assert blocks.window(0, margin=30) == (0, 0, 130, 130)


@pytest.mark.parametrize("seed", range(4))
def test_blocks_have_the_nuclei_of_the_whole_image(small_blocks, seed):
    """Each nucleus is in one block, also those at the borders of tiles and of blocks."""
    labels = draw_discs(seed=seed, count=200, radius=(4, 28), size=(500, 640))
    read, size = make_reader(labels), labels.shape
    tiles = divide(*size, SMALL)
    found = [find_in_tile(tile, read, size, find_bright) for tile in tiles]
    parts = [
        in_block(stitch_around(size, number, tiles, found.__getitem__), number)
        for number in range(blocks_of(size).count)
    ]
    crops = [crop for part in parts for crop in part.crops]
    whole = find_in_tiles(read, size, find_bright, SMALL)
    assert [crop.box for crop in crops] == [crop.box for crop in whole.crops]
    together = Nuclei(size, crops, np.ones(len(crops), np.float32))
    assert np.array_equal(together.labels, whole.labels)
    assert same_nuclei(together.labels, labels)


def store(nuclei: Nuclei, folder: Path) -> StoredNuclei:
    cache = ArrayCache(folder, "a")
    for number in range(blocks_of(nuclei.size).count):
        cache.keep(block_name(number), lambda n=number: pack_block(in_block(nuclei, n)))
    write_index(nuclei.size, cache)
    return StoredNuclei.open(nuclei.size, cache)


@pytest.mark.parametrize(
    "centers",
    [
        [],
        [(10, 10)],
        [(10, 10), (490, 620)],
        [(10, 10), (20, 30), (130, 250), (140, 262), (490, 620)],
        [(127, 20), (129, 20), (300, 300)],
    ],
    ids=["none", "one", "far", "several", "border"],
)
def test_distances_to_neighbors_in_other_blocks(small_blocks, tmp_path, centers):
    crops = [Crop(x, y, np.ones((3, 3), bool)) for y, x in centers]
    nuclei = Nuclei((500, 640), crops, np.ones(len(crops), np.float32))
    stored = store(nuclei, tmp_path / "cache")
    distances = [
        stored.crops.neighbour_distances(number) for number in range(blocks_of(nuclei.size).count)
    ]
    points = np.array([(crop.y + 1, crop.x + 1) for crop in stored.crops]).reshape(-1, 2)
    expected = cdist(points, points) + np.where(np.eye(len(points)) > 0, np.inf, 0)
    nearest = expected.min(axis=1, initial=np.inf)
    np.testing.assert_allclose(
        np.concatenate(distances), np.where(np.isinf(nearest), np.nan, nearest)
    )


def test_stored_nuclei_are_the_same_as_in_memory(small_blocks, tmp_path):
    labels = draw_discs(seed=1, count=200, radius=(4, 28), size=(500, 640))
    nuclei = find_in_tiles(make_reader(labels), labels.shape, find_bright, SMALL)
    stored = store(nuclei, tmp_path / "cache")
    assert len(stored) == len(nuclei)
    assert [crop.box for crop in stored.crops] == [crop.box for crop in nuclei.crops]
    assert np.array_equal(stored.crops[5].mask, nuclei.crops[5].mask)
    assert [crop.box for crop in stored.crops[3:40:7]] == [c.box for c in nuclei.crops[3:40:7]]
    with pytest.raises(IndexError):
        stored.crops[len(nuclei)]
    assert np.array_equal(stored.labels, nuclei.labels)
    rng = np.random.default_rng(0)
    for _ in range(50):
        y, x = rng.integers(0, 480, 2).tolist()
        height, width = rng.integers(1, 200, 2).tolist()
        window = y, x, height, width
        assert np.array_equal(stored.window(*window), nuclei.window(*window))
        assert set(stored.near(*window)) <= set(nuclei.near(*window))


@pytest.fixture(scope="module")
def slide(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("slide")
    gray = np.tile(micrograph((160, 160), 7)[0], (2, 3))
    image = (gray[..., None] * [0.2, 1.0, 0.5]).astype(gray.dtype)  # a green stain
    tifffile.imwrite(folder / "slide.tif", image, photometric="rgb", resolution=(2e4, 2e4))
    return folder / "slide.tif"


def predict(slide: Path, output: Path, *formats: str) -> int:
    options = ["--tile", "224", "--overlap", "32", "--diameter", "20", "--min-area", "20"]
    return main(["--input", str(slide), "--output", str(output), *options, "--format", *formats])


@pytest.fixture(scope="module")
def outputs(slide):
    """The results of a single block and of six blocks."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Tiling, "whole", 224)
        assert predict(slide, slide.parent / "one", *FORMATS) == 0
        patch.setattr(block_module, "EDGE", 128)
        assert predict(slide, slide.parent / "many", *FORMATS) == 0
    return slide.parent / "one", slide.parent / "many"


def test_measurements_do_not_depend_on_the_blocks(outputs):
    one, many = (
        pd.read_parquet(output / "nuclei.parquet").sort_values(["centroid_y", "centroid_x"])
        for output in outputs
    )
    assert len(one) > 50
    assert one["label"].tolist() != many["label"].tolist()  # sorted by block
    assert sorted(many["label"]) == list(range(1, len(many) + 1))
    names = [name for name in one.columns if name not in ("image", "label")]
    np.testing.assert_allclose(
        one[names].to_numpy(float), many[names].to_numpy(float), rtol=1e-9, atol=1e-9
    )
    one, many = (pd.read_csv(output / "images.csv") for output in outputs)
    pd.testing.assert_frame_equal(one, many)


def test_formats_do_not_depend_on_the_blocks(outputs):
    def check(read) -> None:
        one, many = map(read, outputs)
        assert len(one) > 50
        assert sorted(one) == sorted(many)

    def outlines(output: Path) -> list[str]:
        features = json.loads((output / "geojson" / "slide.geojson").read_text())["features"]
        return [json.dumps(f["geometry"]) + str(f["properties"]["measurements"]) for f in features]

    def annotations(output: Path) -> list[str]:
        found = json.loads((output / "coco.json").read_text())["annotations"]
        assert [annotation.pop("id") for annotation in found] == list(range(1, len(found) + 1))
        return [json.dumps(annotation) for annotation in found]

    def rois(output: Path) -> list[str]:
        with zipfile.ZipFile(output / "rois" / "slide.zip") as archive:
            found = [ImagejRoi.frombytes(archive.read(name)) for name in archive.namelist()]
            return [str(roi.coordinates().tolist()) for roi in found]

    check(outlines)
    check(annotations)
    check(lambda output: (output / "submission.csv").read_text().splitlines())
    check(rois)
    check(lambda output: [path.read_bytes() for path in (output / "crops/slide").glob("*.png")])
    for folder in ("labels/slide.tif", "cellpose/slide_masks.tif"):
        assert same_nuclei(*(tifffile.imread(output / folder) for output in outputs))
    pictures = [imread(output / "overlays" / "slide.png") for output in outputs]
    assert np.array_equal(*pictures)
    parts = [json.loads(next((o / ".done/slide").glob("*.page")).read_text()) for o in outputs]
    assert parts[0] == parts[1]
    assert len(base64.b64decode(parts[0]["picture"])) > 1000


def test_labels_are_those_of_the_table(outputs):
    for output in outputs:
        labels = tifffile.imread(output / "labels" / "slide.tif")
        table = pd.read_csv(output / "nuclei.csv").set_index("label")
        assert np.array_equal(np.bincount(labels.ravel())[1:], table["area"].sort_index())


def test_an_interrupted_export_continues(slide, outputs, small_blocks, tmp_path, monkeypatch):
    monkeypatch.setattr(Tiling, "whole", 224)
    encode, seen = GeoJsonExporter.encode, []

    def fail_later(self, job, columns):
        seen.append(job.block)
        if len(seen) == 4:
            raise OSError("No space left on device")
        return encode(self, job, columns)

    monkeypatch.setattr(GeoJsonExporter, "encode", fail_later)
    formats = ["labels", "geojson", "crops"]
    assert predict(slide, tmp_path / "out", *formats) == 1
    assert len(seen) == 4
    assert predict(slide, tmp_path / "out", *formats) == 0
    assert len(seen) == blocks_of((320, 480)).count + 1  # finished blocks were not repeated
    expected = outputs[1]
    for name in ("nuclei.csv", "geojson/slide.geojson", "labels/slide.tif"):
        assert (tmp_path / "out" / name).read_bytes() == (expected / name).read_bytes()
    crops, others = (
        sorted(path.name for path in (output / "crops" / "slide").iterdir())
        for output in (expected, tmp_path / "out")
    )
    assert crops == others
    assert not (tmp_path / "out" / ".done" / "slide" / "tiles").exists()


def test_a_damaged_block_is_named_and_computed_again(
    slide, small_blocks, tmp_path, monkeypatch, capsys
):
    monkeypatch.setattr(Tiling, "whole", 224)
    encode = GeoJsonExporter.encode

    def damage(self, job, columns):
        if job.block[:2] == (0, 0):
            tiles = job.output / ".done" / "slide" / "tiles"
            next(tiles.glob("*_blocks/000003.nuclei.npz")).write_bytes(b"noise")
        return encode(self, job, columns)

    with monkeypatch.context() as patch:
        patch.setattr(GeoJsonExporter, "encode", damage)
        assert predict(slide, tmp_path / "out", "geojson") == 1
    error = capsys.readouterr().err
    assert "000003.nuclei.npz: damaged" in error
    assert "run the same command again" in error
    assert predict(slide, tmp_path / "out", "geojson") == 0


def test_a_bright_slide_is_not_one_nucleus(small_blocks):
    """Parts of what would be one huge nucleus are cut at different places in each block."""
    size = (400, 500)
    read, tiles = make_reader(np.ones(size, np.int32)), divide(*size, SMALL)
    found = [find_in_tile(tile, read, size, find_bright) for tile in tiles]
    for number in range(blocks_of(size).count):
        part = in_block(stitch_around(size, number, tiles, found.__getitem__), number)
        assert all(max(crop.mask.shape) <= SMALL.edge for crop in part.crops)
