"""Every format is read back by a library that did not write it."""

import csv
import json
import subprocess
from pathlib import Path

import cv2
import numpy as np
import pyarrow.parquet
import pytest
import tifffile
from PIL import Image as PillowImage
from pycocotools.coco import COCO
from skimage.draw import polygon2mask
from skimage.io import imread

from dsb2018.draw import PREDICTED
from dsb2018.inference.export import tables as table_module
from dsb2018.inference.export.coco_json import join_coco, write_coco_part
from dsb2018.inference.export.crops import write_crops
from dsb2018.inference.export.dsb_folder import write_dsb
from dsb2018.inference.export.geojson import outline, write_geojson
from dsb2018.inference.export.kaggle import join_kaggle, kaggle_part
from dsb2018.inference.export.label_images import write_labels, write_volume
from dsb2018.inference.export.overlay import write_overlay
from dsb2018.inference.export.tables import join_tables, round_off, write_image_table, write_part
from dsb2018.inference.measurements import measure_nuclei
from dsb2018.inference.microscopy_image import MicroscopyImage
from dsb2018.prepare import Options, prepare
from dsb2018.structures.contrast import GreyRange
from dsb2018.structures.ground_truth import read_label_layers
from dsb2018.structures.masks import Crop
from dsb2018.structures.nuclei import Nuclei
from tests.inference.drawing import draw_discs


def nuclei_of(labels: np.ndarray) -> Nuclei:
    return Nuclei.from_labels(labels, np.linspace(0.99, 0.5, labels.max(initial=0)))


def picture_of(pixels: np.ndarray, axes: str = "YX", **details) -> MicroscopyImage:
    return MicroscopyImage("a", Path("/images/a.png"), pixels, axes, **details)


def blank(labels: np.ndarray, **details) -> MicroscopyImage:
    return picture_of(np.zeros(labels.shape, np.uint8), **details)


@pytest.mark.parametrize("size", [(60, 80), (1025, 700), (700, 2100)])
def test_label_images(tmp_path, size):
    labels = draw_discs(size)
    path = tmp_path / "a.tif"
    write_labels(path, nuclei_of(labels), blank(labels, pixel_size=(0.5, 0.25)))
    for found in (tifffile.imread(path), cv2.imread(str(path), cv2.IMREAD_UNCHANGED)):
        assert found.dtype == np.uint16
        assert (found == labels).all()
    with PillowImage.open(path) as image:  # a third library
        assert (np.asarray(image) == labels).all()
        assert image.info["dpi"] == pytest.approx((2.54e4 / 0.25, 2.54e4 / 0.5))  # ImageJ reads it


def test_label_images_of_very_many_nuclei(tmp_path):
    labels = np.arange(1, 300 * 300 + 1, dtype=np.int32).reshape(300, 300)
    write_labels(tmp_path / "a.tif", nuclei_of(labels), blank(labels))
    found = tifffile.imread(tmp_path / "a.tif")
    assert found.dtype == np.uint32
    assert (found == labels).all()


@pytest.mark.parametrize("size", [(40, 50), (600, 1100)])
def test_volumes(tmp_path, size):
    planes = [draw_discs(size, 10, seed=seed) for seed in range(5)]
    slices = [(nuclei_of(plane), np.arange(plane.max())[::-1] + 7) for plane in planes]
    volume = np.stack(
        [np.concatenate([[0], m])[p] for p, (_, m) in zip(planes, slices, strict=True)]
    )
    picture = picture_of(np.zeros(volume.shape, np.uint8), "ZYX")
    write_volume(tmp_path / "a.tif", iter(slices), int(volume.max()), picture)
    assert (imread(tmp_path / "a.tif") == volume).all()
    with tifffile.TiffFile(tmp_path / "a.tif") as file:
        assert file.series[0].axes == "ZYX"


def rasterise(geometry: dict, size: tuple[int, int]) -> np.ndarray:
    """Pixels whose middle lies in a geometry."""
    polygons = geometry["coordinates"]
    polygons = polygons if geometry["type"] == "MultiPolygon" else [polygons]
    mask = np.zeros(size, bool)
    for outer, *holes in polygons:
        part = polygon2mask(size, np.array(outer)[:, ::-1] - 0.5)
        for hole in holes:
            part &= ~polygon2mask(size, np.array(hole)[:, ::-1] - 0.5)
        mask |= part
    return mask


@pytest.mark.parametrize("seed", range(5))
def test_outlines_hold_the_pixels(seed):
    noise = np.random.default_rng(seed).random((30, 30)).astype(np.float32)
    blobs = cv2.GaussianBlur(noise, (0, 0), 1.5) > 0.5  # with holes, corners and parts
    crop = Crop(7, 3, blobs)
    expected = np.zeros((40, 50), bool)
    expected[3:33, 7:37] = blobs
    assert (rasterise(outline(crop), expected.shape) == expected).all()


def test_outline_by_hand():
    ring = np.array([[1, 1, 1], [1, 0, 1], [1, 1, 1]], bool)
    geometry = outline(Crop(10, 20, ring))
    assert geometry["type"] == "Polygon"
    outer, hole = (np.array(each) for each in geometry["coordinates"])
    assert (outer[0] == outer[-1]).all()
    assert (outer.min(axis=0).tolist(), outer.max(axis=0).tolist()) == ([10, 20], [13, 23])
    assert (hole.min(axis=0).tolist(), hole.max(axis=0).tolist()) == ([11, 21], [12, 22])
    assert outline(Crop(0, 0, np.array([[1, 0, 1]], bool)))["type"] == "MultiPolygon"


def test_geojson(tmp_path):
    labels = draw_discs((60, 80), 12)
    nuclei, picture = nuclei_of(labels), blank(labels)
    write_geojson(tmp_path / "a.geojson", nuclei, measure_nuclei(nuclei, picture))
    content = json.loads((tmp_path / "a.geojson").read_text())
    assert content["type"] == "FeatureCollection"
    assert len(content["features"]) == len(nuclei)
    for number, feature in enumerate(content["features"], start=1):
        assert (rasterise(feature["geometry"], labels.shape) == (labels == number)).all()
        assert feature["properties"]["objectType"] == "detection"
        assert feature["properties"]["measurements"]["area"] == (labels == number).sum()
    nothing = nuclei_of(np.zeros((5, 5), np.int32))
    write_geojson(tmp_path / "b.geojson", nothing, measure_nuclei(nothing, blank(nothing.labels)))
    assert json.loads((tmp_path / "b.geojson").read_text())["features"] == []


def test_coco(tmp_path):
    images = {
        "a": draw_discs((60, 80), 12),
        "b": np.zeros((9, 9), np.int32),
        "c": draw_discs((50, 40)),
    }
    parts = []
    for name, labels in images.items():
        parts.append(tmp_path / f"{name}.coco")
        write_coco_part(parts[-1], name, f"{name}.png", nuclei_of(labels))
    join_coco(tmp_path / "coco.json", parts)
    coco = COCO(str(tmp_path / "coco.json"))
    assert [image["name"] for image in coco.loadImgs(coco.getImgIds())] == list(images)
    for image, labels in zip(coco.loadImgs(coco.getImgIds()), images.values(), strict=True):
        annotations = coco.loadAnns(coco.getAnnIds(image["id"]))
        assert len(annotations) == labels.max()
        for number, each in enumerate(annotations, start=1):
            assert (coco.annToMask(each) == (labels == number)).all()
            assert each["area"] == (labels == number).sum()
            assert 0.5 <= each["score"] <= 1
    join_coco(tmp_path / "none.json", [])
    assert json.loads((tmp_path / "none.json").read_text())["images"] == []


def decode(code: str, size: tuple[int, int]) -> np.ndarray:
    """Kaggle's own way: pixels from 1, down and then to the right."""
    flat = np.zeros(size[0] * size[1], bool)
    numbers = list(map(int, code.split()))
    for start, length in zip(numbers[::2], numbers[1::2], strict=True):
        assert not flat[start - 1 : start - 1 + length].any()
        flat[start - 1 : start - 1 + length] = True
    return flat.reshape(size[::-1]).T


def test_kaggle(tmp_path):
    labels = draw_discs((60, 80), 12)
    labels[:, 79] = labels.max() + 1  # a whole column
    (tmp_path / "a").write_text(kaggle_part("a", nuclei_of(labels)))
    (tmp_path / "b").write_text(
        kaggle_part("b, with a comma", nuclei_of(np.zeros((3, 3), np.int32)))
    )
    join_kaggle(tmp_path / "submission.csv", [tmp_path / "a", tmp_path / "b"])
    with open(tmp_path / "submission.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert rows.pop() == {"ImageId": "b, with a comma", "EncodedPixels": ""}
    assert len(rows) == labels.max()
    for number, row in enumerate(rows, start=1):
        if (labels == number).any():
            assert (decode(row["EncodedPixels"], labels.shape) == (labels == number)).all()


def test_a_dsb_folder_can_be_prepared(tmp_path):
    labels = draw_discs((60, 80), 12)
    pixels = np.random.default_rng(0).integers(0, 256, (60, 80, 3), np.uint8)
    folder, shown, grey_range = (
        tmp_path / "dsb" / "i1",
        picture_of(pixels, "YXS"),
        GreyRange(0, 255),
    )
    mark = tmp_path / "mark"
    write_dsb(folder, "i1", nuclei_of(labels), shown, grey_range, mark)
    assert (imread(tmp_path / "dsb" / "i1" / "images" / "i1.png") == pixels).all()
    root = tmp_path / "root"
    prepare(Options(input=tmp_path / "dsb", output=root, name="mine", workers=1, progress=False))
    coco = json.loads((root / "annotations" / "dsb2018_mine.json").read_text())
    item = {**coco["images"][0], "label_file": str(root / coco["images"][0]["label_file"])}
    assert (read_label_layers(item)[0] == labels).all()
    write_dsb(folder, "i1", nuclei_of(labels * 0), shown, grey_range, mark)
    assert not list((tmp_path / "dsb").rglob("masks/*.png"))  # nothing of the run before
    (folder / "masks" / "drawn.png").write_bytes(b"a mask that somebody drew")
    with pytest.raises(ValueError, match="changed by somebody since it was written"):
        write_dsb(folder, "i1", nuclei_of(labels), shown, grey_range, mark)
    assert (folder / "masks" / "drawn.png").exists()


def test_a_dsb_folder_has_what_the_model_saw(tmp_path):
    labels = draw_discs((60, 80), 12)
    pixels = np.random.default_rng(0).integers(100, 1500, (60, 80), np.uint16)
    grey_range = GreyRange(100, 1500)
    mark = tmp_path / "mark"
    write_dsb(tmp_path / "i1", "i1", nuclei_of(labels), picture_of(pixels), grey_range, mark)
    image = imread(tmp_path / "i1" / "images" / "i1.png")
    assert image.dtype == np.uint8
    assert (image == grey_range.apply(pixels)[..., None]).all()
    assert len(np.unique(image)) > 200


def test_crops(tmp_path):
    labels = np.zeros((40, 50), np.int32)
    labels[10:15, 20:28], labels[0:3, 0:3] = 1, 2
    pixels = np.random.default_rng(0).integers(0, 4096, (40, 50), np.uint16)
    write_crops(tmp_path / "a", nuclei_of(labels), picture_of(pixels), [1, 2])
    assert (imread(tmp_path / "a" / "00001.png") == pixels[6:19, 16:32]).all()
    assert (imread(tmp_path / "a" / "00002.png") == pixels[:7, :7]).all()
    write_crops(
        tmp_path / "b", nuclei_of(labels), picture_of(pixels.astype(np.float32) / 7), [1, 7]
    )
    assert np.allclose(tifffile.imread(tmp_path / "b" / "00001.tif"), pixels[6:19, 16:32] / 7)
    assert (tmp_path / "b" / "00007.tif").exists()


@pytest.mark.parametrize(
    ("size", "expected"), [((60, 80), (120, 160)), ((2100, 9000), (700, 3000))]
)
def test_overlays(tmp_path, size, expected):
    labels = draw_discs(size, 20, radius=(10, 20))
    pixels = np.where(labels > 0, 200, 20).astype(np.uint8)
    write_overlay(tmp_path / "a.png", nuclei_of(labels), picture_of(pixels), GreyRange(0, 255))
    picture = imread(tmp_path / "a.png")
    assert picture.shape == (*expected, 3)
    assert (picture == PREDICTED).all(axis=2).sum() > 100  # outlines
    assert (picture == 200).all(axis=2).sum() > 100  # what they are around
    assert (picture == 20).all(axis=2).sum() > 100


def test_tables(tmp_path):
    first = {
        "image": np.array(["a", "a"]),
        "label": np.array([1, 2]),
        "area": np.array([3.0, np.nan]),
    }
    second = {"image": np.array(["b"]), "label": np.array([1]), "intensity_red": np.array([1 / 3])}
    parts = [tmp_path / "1.parquet", tmp_path / "2.parquet"]
    write_part(parts[0], first)
    write_part(parts[1], second)
    join_tables(tmp_path / "nuclei", parts)
    with open(tmp_path / "nuclei.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["image"] for row in rows] == ["a", "a", "b"]
    assert [row["area"] for row in rows] == ["3", "", ""]
    assert [row["intensity_red"] for row in rows] == ["", "", "0.333333"]
    table = pyarrow.parquet.read_table(tmp_path / "nuclei.parquet")
    assert table["intensity_red"].to_pylist() == [None, None, 1 / 3]
    write_image_table(
        tmp_path / "images", [{"image": "a", "nuclei": 2}, {"image": "b", "slice": 1}]
    )
    assert (tmp_path / "images.csv").read_text().splitlines()[2] == '"b",,1'


def test_many_small_parts_become_few_row_groups(tmp_path, monkeypatch):
    monkeypatch.setattr(table_module, "GROUP", 100)
    parts = []
    for number in range(60):
        columns = {"label": np.arange(number % 9), "area": np.full(number % 9, number + 0.5)}
        parts.append(tmp_path / f"{number}.parquet")
        write_part(parts[-1], columns)
    join_tables(tmp_path / "nuclei", parts)
    file = pyarrow.parquet.ParquetFile(tmp_path / "nuclei.parquet")
    assert file.num_row_groups == 3
    assert file.read()["area"].to_pylist() == [n + 0.5 for n in range(60) for _ in range(n % 9)]


def test_numbers_are_rounded_to_what_they_hold():
    given = np.array([0.000123456789, 12345.678912, 1 / 3, -2e-12, 0.0, np.nan, np.inf, 7e15])
    expected = [0.000123457, 12345.6789, 0.333333, -2e-12, 0.0, np.nan, np.inf, 7e15]
    assert np.allclose(round_off(given), expected, rtol=1e-12, atol=0, equal_nan=True)


def test_labels_open_without_python(tmp_path):
    """libtiff's own tool, where a machine has it."""
    labels = draw_discs((60, 80), 12)
    write_labels(tmp_path / "a.tif", nuclei_of(labels), blank(labels))
    try:
        done = subprocess.run(["tiffinfo", str(tmp_path / "a.tif")], capture_output=True, text=True)
    except FileNotFoundError:
        pytest.skip("no tiffinfo")
    assert "Image Width: 80 Image Length: 60" in done.stdout
