"""Reads the files of each format with a library that did not write them."""

import csv
import json
import subprocess
import zipfile
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
from dsb2018.images.microscopy_image import MicroscopyImage
from dsb2018.inference.export import tables as table_module
from dsb2018.inference.export.base import EXPORTERS, ExportJob
from dsb2018.inference.export.coco_json import join_coco
from dsb2018.inference.export.crops import write_crops
from dsb2018.inference.export.dsb_folder import write_dsb
from dsb2018.inference.export.geojson import outline
from dsb2018.inference.export.kaggle import join_kaggle
from dsb2018.inference.export.label_images import write_labels, write_volume
from dsb2018.inference.export.overlay import choose_gamma, draw_overlay, sample_picture
from dsb2018.inference.export.tables import join_tables, round_off, write_image_table, write_part
from dsb2018.inference.measurements import measure_nuclei
from dsb2018.prepare import Options, prepare
from dsb2018.prepare.forms.outline_files import read_rois
from dsb2018.structures.contrast import GreyRange
from dsb2018.structures.ground_truth import read_label_layers
from dsb2018.structures.masks import Crop
from dsb2018.structures.nuclei import Nuclei
from dsb2018.structures.outlines import fill_rings
from tests.inference.drawing import draw_discs


def make_nuclei(labels: np.ndarray) -> Nuclei:
    return Nuclei.from_labels(labels, np.linspace(0.99, 0.5, labels.max(initial=0)))


def make_image(pixels: np.ndarray, axes: str = "YX", **details) -> MicroscopyImage:
    return MicroscopyImage("a", Path("/images/a.png"), pixels, axes, **details)


def make_blank_image(labels: np.ndarray, **details) -> MicroscopyImage:
    return make_image(np.zeros(labels.shape, np.uint8), **details)


def make_job(
    folder: Path, name: str, nuclei: Nuclei, image: MicroscopyImage | None = None, **details
) -> ExportJob:
    image = image or make_blank_image(nuclei.labels)
    grey_range = GreyRange(0, 255)
    return ExportJob(name, image, image, grey_range, nuclei, [], folder, folder, "", **details)


def export(format_name: str, folder: Path, name: str, nuclei: Nuclei) -> None:
    job = make_job(folder, name, nuclei)
    EXPORTERS[format_name].write(job, measure_nuclei(nuclei, job.image))


@pytest.mark.parametrize("size", [(60, 80), (1025, 700), (700, 2100)])
def test_label_images(tmp_path, size):
    labels = draw_discs(size)
    path = tmp_path / "a.tif"
    write_labels(path, make_nuclei(labels), make_blank_image(labels, pixel_size=(0.5, 0.25)))
    for exported in (tifffile.imread(path), cv2.imread(str(path), cv2.IMREAD_UNCHANGED)):
        assert exported.dtype == np.uint16
        assert (exported == labels).all()
    with PillowImage.open(path) as image:
        assert (np.asarray(image) == labels).all()
        # ImageJ reads the pixel size from the resolution.
        assert image.info["dpi"] == pytest.approx((2.54e4 / 0.25, 2.54e4 / 0.5))


def test_label_images_of_more_than_65535_nuclei(tmp_path):
    labels = np.arange(1, 300 * 300 + 1, dtype=np.int32).reshape(300, 300)
    write_labels(tmp_path / "a.tif", make_nuclei(labels), make_blank_image(labels))
    exported = tifffile.imread(tmp_path / "a.tif")
    assert exported.dtype == np.uint32
    assert (exported == labels).all()


@pytest.mark.parametrize("size", [(40, 50), (600, 1100)])
def test_label_images_of_stacks(tmp_path, size):
    planes = [draw_discs(size, 10, seed=seed) for seed in range(5)]
    slices = [(make_nuclei(plane), np.arange(plane.max())[::-1] + 7) for plane in planes]
    volume = np.stack(
        [
            np.concatenate([[0], labels])[plane]
            for plane, (_, labels) in zip(planes, slices, strict=True)
        ]
    )
    stack = make_image(np.zeros(volume.shape, np.uint8), "ZYX")
    write_volume(tmp_path / "a.tif", iter(slices), int(volume.max()), stack)
    assert (imread(tmp_path / "a.tif") == volume).all()
    with tifffile.TiffFile(tmp_path / "a.tif") as file:
        assert file.series[0].axes == "ZYX"


def rasterize(geometry: dict, size: tuple[int, int]) -> np.ndarray:
    """Returns a mask of the pixels whose centers are in a GeoJSON geometry."""
    polygons = geometry["coordinates"]
    polygons = polygons if geometry["type"] == "MultiPolygon" else [polygons]
    mask = np.zeros(size, bool)
    for outer, *holes in polygons:
        polygon_mask = polygon2mask(size, np.array(outer)[:, ::-1] - 0.5)
        for hole in holes:
            polygon_mask &= ~polygon2mask(size, np.array(hole)[:, ::-1] - 0.5)
        mask |= polygon_mask
    return mask


@pytest.mark.parametrize("seed", range(5))
def test_outlines_contain_exactly_the_pixels(seed):
    noise = np.random.default_rng(seed).random((30, 30)).astype(np.float32)
    blobs = cv2.GaussianBlur(noise, (0, 0), 1.5) > 0.5  # several parts, with holes
    crop = Crop(7, 3, blobs)
    expected = np.zeros((40, 50), bool)
    expected[3:33, 7:37] = blobs
    assert (rasterize(outline(crop), expected.shape) == expected).all()


def test_outline_of_a_ring():
    mask = np.array([[1, 1, 1], [1, 0, 1], [1, 1, 1]], bool)
    geometry = outline(Crop(10, 20, mask))
    assert geometry["type"] == "Polygon"
    outer, hole = (np.array(ring) for ring in geometry["coordinates"])
    assert (outer[0] == outer[-1]).all()
    assert (outer.min(axis=0).tolist(), outer.max(axis=0).tolist()) == ([10, 20], [13, 23])
    assert (hole.min(axis=0).tolist(), hole.max(axis=0).tolist()) == ([11, 21], [12, 22])
    assert outline(Crop(0, 0, np.array([[1, 0, 1]], bool)))["type"] == "MultiPolygon"


def test_geojson(tmp_path):
    labels = draw_discs((60, 80), 12)
    nuclei = make_nuclei(labels)
    export("geojson", tmp_path, "a", nuclei)
    content = json.loads((tmp_path / "geojson" / "a.geojson").read_text())
    assert content["type"] == "FeatureCollection"
    assert len(content["features"]) == len(nuclei)
    for number, feature in enumerate(content["features"], start=1):
        assert (rasterize(feature["geometry"], labels.shape) == (labels == number)).all()
        assert feature["properties"]["objectType"] == "detection"
        assert feature["properties"]["measurements"]["area"] == (labels == number).sum()
    export("geojson", tmp_path, "b", make_nuclei(np.zeros((5, 5), np.int32)))
    assert json.loads((tmp_path / "geojson" / "b.geojson").read_text())["features"] == []


def test_rois(tmp_path):
    labels = draw_discs((60, 80), 12)
    labels[2:4, 2:4] = labels[50:58, 70:72] = labels.max() + 1  # a nucleus in two parts
    nuclei = make_nuclei(labels)
    export("rois", tmp_path, "a", nuclei)
    path = tmp_path / "rois" / "a.zip"
    outlines = read_rois(path, [])
    assert len(outlines) == len(nuclei)
    for number, rings in enumerate(outlines, start=1):
        expected = labels == number
        if number == len(nuclei):
            expected[:10] = False  # only the larger part is written
        (y, x), crop = labels.shape, fill_rings(rings, *labels.shape)
        mask = np.zeros((y, x), bool)
        mask[crop.window] = crop.mask
        np.testing.assert_array_equal(mask, expected)
    first = path.read_bytes()
    export("rois", tmp_path, "a", nuclei)
    assert path.read_bytes() == first
    export("rois", tmp_path, "b", make_nuclei(np.zeros((5, 5), np.int32)))
    assert zipfile.ZipFile(tmp_path / "rois" / "b.zip").namelist() == []


def test_coco(tmp_path):
    label_images = {
        "a": draw_discs((60, 80), 12),
        "b": np.zeros((9, 9), np.int32),
        "c": draw_discs((50, 40)),
    }
    parts = []
    for name, labels in label_images.items():
        parts.append(tmp_path / f"{name}.coco")
        export("coco", tmp_path, name, make_nuclei(labels))
    join_coco(tmp_path / "coco.json", parts)
    coco = COCO(str(tmp_path / "coco.json"))
    assert [image["name"] for image in coco.loadImgs(coco.getImgIds())] == list(label_images)
    for image, labels in zip(coco.loadImgs(coco.getImgIds()), label_images.values(), strict=True):
        annotations = coco.loadAnns(coco.getAnnIds(image["id"]))
        assert len(annotations) == labels.max()
        for label, annotation in enumerate(annotations, start=1):
            assert (coco.annToMask(annotation) == (labels == label)).all()
            assert annotation["area"] == (labels == label).sum()
            assert 0.5 <= annotation["score"] <= 1
    join_coco(tmp_path / "none.json", [])
    assert json.loads((tmp_path / "none.json").read_text())["images"] == []


def decode_run_lengths(code: str, size: tuple[int, int]) -> np.ndarray:
    """Decodes run lengths as Kaggle does: pixels from 1, from top to bottom, then left to right."""
    flat = np.zeros(size[0] * size[1], bool)
    numbers = list(map(int, code.split()))
    for start, length in zip(numbers[::2], numbers[1::2], strict=True):
        assert not flat[start - 1 : start - 1 + length].any()
        flat[start - 1 : start - 1 + length] = True
    return flat.reshape(size[::-1]).T


def test_kaggle(tmp_path):
    labels = draw_discs((60, 80), 12)
    labels[:, 79] = labels.max() + 1  # a whole column
    names = ["a", "b, with a comma"]
    export("kaggle", tmp_path, names[0], make_nuclei(labels))
    export("kaggle", tmp_path, names[1], make_nuclei(np.zeros((3, 3), np.int32)))
    parts = [tmp_path / f"{name}.kaggle" for name in names]
    join_kaggle(tmp_path / "submission.csv", parts)
    with open(tmp_path / "submission.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert rows.pop() == {"ImageId": "b, with a comma", "EncodedPixels": ""}
    assert len(rows) == labels.max()
    for number, row in enumerate(rows, start=1):
        if (labels == number).any():
            mask = decode_run_lengths(row["EncodedPixels"], labels.shape)
            assert (mask == (labels == number)).all()


def test_prepare_reads_a_dsb_folder(tmp_path):
    labels = draw_discs((60, 80), 12)
    pixels = np.random.default_rng(0).integers(0, 256, (60, 80, 3), np.uint8)
    folder, mark = tmp_path / "dsb" / "i1", tmp_path / "mark"
    image, grey_range = make_image(pixels, "YXS"), GreyRange(0, 255)
    write_dsb(folder, "i1", make_nuclei(labels), image, grey_range, mark)
    assert (imread(tmp_path / "dsb" / "i1" / "images" / "i1.png") == pixels).all()
    root = tmp_path / "root"
    prepare(Options(input=tmp_path / "dsb", output=root, name="mine", workers=1, progress=False))
    coco = json.loads((root / "annotations" / "dsb2018_mine.json").read_text())
    item = {**coco["images"][0], "label_file": str(root / coco["images"][0]["label_file"])}
    assert (read_label_layers(item)[0] == labels).all()
    write_dsb(folder, "i1", make_nuclei(labels * 0), image, grey_range, mark)
    assert not list((tmp_path / "dsb").rglob("masks/*.png"))  # the old masks were deleted
    (folder / "masks" / "drawn.png").write_bytes(b"a new mask")
    with pytest.raises(ValueError, match="changed after it was written"):
        write_dsb(folder, "i1", make_nuclei(labels), image, grey_range, mark)
    assert (folder / "masks" / "drawn.png").exists()


def test_a_dsb_folder_contains_the_input_of_the_model(tmp_path):
    labels = draw_discs((60, 80), 12)
    pixels = np.random.default_rng(0).integers(100, 1500, (60, 80), np.uint16)
    grey_range = GreyRange(100, 1500)
    mark = tmp_path / "mark"
    write_dsb(tmp_path / "i1", "i1", make_nuclei(labels), make_image(pixels), grey_range, mark)
    image = imread(tmp_path / "i1" / "images" / "i1.png")
    assert image.dtype == np.uint8
    assert (image == grey_range.apply(pixels)[..., None]).all()
    assert len(np.unique(image)) > 200


def test_crops(tmp_path):
    labels = np.zeros((40, 50), np.int32)
    labels[10:15, 20:28], labels[0:3, 0:3] = 1, 2
    pixels = np.random.default_rng(0).integers(0, 4096, (40, 50), np.uint16)
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    write_crops(tmp_path / "a", make_nuclei(labels), make_image(pixels), [1, 2])
    assert (imread(tmp_path / "a" / "00001.png") == pixels[6:19, 16:32]).all()
    assert (imread(tmp_path / "a" / "00002.png") == pixels[:7, :7]).all()
    write_crops(
        tmp_path / "b", make_nuclei(labels), make_image(pixels.astype(np.float32) / 7), [1, 7]
    )
    assert np.allclose(tifffile.imread(tmp_path / "b" / "00001.tif"), pixels[6:19, 16:32] / 7)
    assert (tmp_path / "b" / "00007.tif").exists()


@pytest.mark.parametrize(
    ("size", "expected"), [((60, 80), (120, 160)), ((2100, 9000), (700, 3000))]
)
def test_overlays(size, expected):
    labels = draw_discs(size, 20, radius=(10, 20))
    pixels = np.where(labels > 0, 200, 20).astype(np.uint8)
    job = make_job(Path(), "a", make_nuclei(labels), make_image(pixels))
    overlay = draw_overlay(size, 4096, [sample_picture(job, 4096)])
    assert overlay.shape == (*expected, 3)
    assert (overlay == PREDICTED).all(axis=2).sum() > 100  # outlines
    assert (overlay == 200).all(axis=2).sum() > 100  # nuclei
    assert (overlay == 20).all(axis=2).sum() > 100  # background


def test_faint_nuclei_are_brightened_on_overlays():
    labels = draw_discs((60, 80), 5, radius=(10, 12))
    pixels = np.where(labels > 0, 26, 3).astype(np.uint8)  # a tenth of the range
    sample = sample_picture(make_job(Path(), "a", make_nuclei(labels), make_image(pixels)), 4096)
    job = labels.shape, 4096, [sample]
    inside = (labels > 0).repeat(2, axis=0).repeat(2, axis=1)
    assert np.median(draw_overlay(*job)[inside]) == pytest.approx(255 * 0.35, abs=4)
    assert np.median(draw_overlay(*job, gamma=1)[inside]) == 26
    assert np.median(draw_overlay(*job, gamma=0.5)[inside]) == pytest.approx(
        255 * 0.102**0.5, abs=1
    )


@pytest.mark.parametrize(
    ("inside", "outside"), [(200, 20), (40, 220), (20, 20)], ids=["bright", "stained", "flat"]
)
def test_other_nuclei_are_not_brightened(inside, outside):
    labels = np.zeros((20, 20), int)
    labels[5:15, 5:15] = 1
    rgb = np.where(labels[..., None] > 0, inside, outside).astype(np.uint8).repeat(3, axis=2)
    assert choose_gamma(rgb, labels) == 1
    assert choose_gamma(rgb, np.zeros_like(labels)) == 1  # no nuclei


def test_tables(tmp_path):
    first = {
        "image": np.array(["a", "a"]),
        "label": np.array([1, 2]),
        "area": np.array([3.0, np.nan]),
    }
    second = {"image": np.array(["b"]), "label": np.array([1]), "intensity_red": np.array([1 / 3])}
    parts = [tmp_path / "1.parquet", tmp_path / "2.parquet"]
    write_part(parts[0], [first])
    write_part(parts[1], [second])
    join_tables(tmp_path / "nuclei", parts, [{}] * len(parts))
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
        write_part(parts[-1], [columns])
    join_tables(tmp_path / "nuclei", parts, [{}] * len(parts))
    file = pyarrow.parquet.ParquetFile(tmp_path / "nuclei.parquet")
    assert file.num_row_groups == 3
    assert file.read()["area"].to_pylist() == [n + 0.5 for n in range(60) for _ in range(n % 9)]


def test_round_off():
    values = np.array([0.000123456789, 12345.678912, 1 / 3, -2e-12, 0.0, np.nan, np.inf, 7e15])
    expected = [0.000123457, 12345.6789, 0.333333, -2e-12, 0.0, np.nan, np.inf, 7e15]
    assert np.allclose(round_off(values), expected, rtol=1e-12, atol=0, equal_nan=True)


def test_tiffinfo_reads_label_images(tmp_path):
    """Uses a tool of libtiff, if it is installed."""
    labels = draw_discs((60, 80), 12)
    write_labels(tmp_path / "a.tif", make_nuclei(labels), make_blank_image(labels))
    try:
        process = subprocess.run(
            ["tiffinfo", str(tmp_path / "a.tif")], capture_output=True, text=True
        )
    except FileNotFoundError:
        pytest.skip("no tiffinfo")
    assert "Image Width: 80 Image Length: 60" in process.stdout
