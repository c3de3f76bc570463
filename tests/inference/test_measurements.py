from pathlib import Path

import numpy as np
import pytest
from skimage.measure import regionprops

from dsb2018.images.microscopy_image import MicroscopyImage
from dsb2018.inference import measurements
from dsb2018.inference.measurements import measure_nuclei, summarize_nuclei
from dsb2018.structures.nuclei import Nuclei
from tests.inference.drawing import draw_discs


def make_image(pixels: np.ndarray, axes: str, **details) -> MicroscopyImage:
    return MicroscopyImage("a", Path("a"), pixels, axes, **details)


@pytest.mark.parametrize("block", [40, 10_000])
def test_blocks_give_the_same_measurements_as_scikit_image(monkeypatch, block):
    monkeypatch.setattr(measurements, "BLOCK", block)
    labels = draw_discs()
    pixels = np.random.default_rng(0).integers(0, 4000, (*labels.shape, 2), np.uint16)
    nuclei = Nuclei.from_labels(labels, np.linspace(1, 0.5, labels.max()))
    columns = measure_nuclei(nuclei, make_image(pixels, "YXC", channels=("DAPI", "GFP")))
    assert columns["label"].tolist() == list(range(1, len(nuclei) + 1))
    assert (columns["score"] == nuclei.scores).all()
    backgrounds = np.median(pixels[labels == 0], axis=0)
    for index, region in enumerate(regionprops(labels, pixels)):
        row = {name: values[index] for name, values in columns.items()}
        assert (row["centroid_y"], row["centroid_x"]) == pytest.approx(region.centroid)
        box = (row["box_y"], row["box_x"], row["box_y"] + row["box_height"])
        assert (*box, row["box_x"] + row["box_width"]) == region.bbox
        for name in measurements.SHAPES:
            assert row[name] == pytest.approx(region[name]), name
        values = pixels[labels == region.label].astype(float)
        for channel, name in enumerate(("_DAPI", "_GFP")):
            intensities = values[:, channel] - backgrounds[channel]
            assert row[f"background{name}"] == backgrounds[channel]
            assert row[f"intensity_mean{name}"] == pytest.approx(intensities.mean())
            assert row[f"intensity_median{name}"] == pytest.approx(np.median(intensities))
            assert row[f"intensity_std{name}"] == pytest.approx(intensities.std())
            assert row[f"intensity_sum{name}"] == pytest.approx(intensities.sum())


def draw_squares() -> tuple[Nuclei, MicroscopyImage]:
    """Returns two squares that touch at a corner, and a rectangle at the border."""
    labels = np.zeros((20, 30), np.int32)
    labels[2:6, 2:6], labels[6:10, 6:10], labels[12:14, 26:30] = 1, 2, 3
    pixels = np.full((20, 30), 10, np.uint8)
    pixels[labels == 1], pixels[labels == 2], pixels[labels == 3] = 30, 50, 5
    nuclei = Nuclei.from_labels(labels, np.array([0.9, 0.8, 0.7]))
    return nuclei, make_image(pixels, "YX", pixel_size=(0.5, 0.5))


def test_measurements_of_squares():
    columns = measure_nuclei(*draw_squares())
    assert columns["area"].tolist() == [16, 16, 8]
    assert columns["touching"].tolist() == [True, True, False]
    assert columns["at_border"].tolist() == [False, False, True]
    assert columns["intensity_mean"].tolist() == [20, 40, -5]
    assert columns["intensity_sum"].tolist() == [320, 640, -40]
    assert columns["background"].tolist() == [10, 10, 10]
    assert columns["neighbour_distance"][:2] == pytest.approx([32**0.5] * 2)
    assert columns["area_um2"].tolist() == [4, 4, 2]
    assert columns["neighbour_distance_um"][0] == pytest.approx(8**0.5)
    assert 0.7 < columns["circularity"][0] <= 1


@pytest.mark.parametrize(
    ("axes", "channels", "suffixes"),
    [
        ("YX", 1, [""]),
        ("YXS", 3, ["_red", "_green", "_blue"]),
        ("YXS", 5, ["_0", "_1", "_2", "_3", "_4"]),
        ("CYX", 2, ["_0", "_1"]),
    ],
)
def test_names_of_channel_columns(axes, channels, suffixes):
    nuclei, _ = draw_squares()
    shape = [{"Y": 20, "X": 30}.get(axis, channels) for axis in axes]
    columns = measure_nuclei(nuclei, make_image(np.ones(shape, np.uint8), axes))
    names = [name for name in columns if name.startswith("intensity_mean")]
    assert names == [f"intensity_mean{suffix}" for suffix in suffixes]


def test_summary_of_an_image():
    nuclei, image = draw_squares()
    row = summarize_nuclei(measure_nuclei(nuclei, image), image)
    assert row["nuclei"] == 3
    assert (row["height"], row["width"]) == (20, 30)
    assert row["nuclei_per_megapixel"] == pytest.approx(5000)
    assert row["nuclei_per_mm2"] == pytest.approx(3 / (600 * 0.25e-6))
    assert row["covered"] == pytest.approx(40 / 600)
    assert row["mean_area"] == pytest.approx(40 / 3)
    assert row["mean_area_um2"] == pytest.approx(10 / 3)
    areas = measure_nuclei(nuclei, image)["area"]
    assert row["median_diameter"] == pytest.approx(np.sqrt(4 * np.median(areas) / np.pi))
    assert row["median_score"] == np.median(nuclei.scores)
    assert row["integrated_intensity"] == 920
    assert row["mean_intensity"] == pytest.approx(55 / 3)


def test_an_image_without_nuclei_has_the_same_columns():
    nuclei = Nuclei.from_labels(np.zeros((20, 30), np.int32), np.zeros(0))
    _, image = draw_squares()
    columns = measure_nuclei(nuclei, image)
    assert set(columns) == set(measure_nuclei(*draw_squares()))
    assert all(len(values) == 0 for values in columns.values())
    row = summarize_nuclei(columns, image)
    assert row["nuclei"] == 0
    assert np.isnan(row["mean_area"])
    assert np.isnan(row["median_diameter"])
    assert row["warning"] == ""


def test_a_nucleus_that_covers_the_image():
    labels = np.ones((6, 6), np.int32)
    pixels = np.full((6, 6), 7, np.uint8)
    columns = measure_nuclei(Nuclei.from_labels(labels, np.ones(1)), make_image(pixels, "YX"))
    assert np.isnan(columns["neighbour_distance"]).all()
    assert columns["background"].tolist() == [7]
    assert columns["intensity_mean"].tolist() == [0]
    assert columns["at_border"].tolist() == [True]
    assert columns["touching"].tolist() == [False]


def test_the_circularity_of_a_single_pixel_is_1():
    labels = np.zeros((6, 6), np.int32)
    labels[3, 3] = 1
    columns = measure_nuclei(
        Nuclei.from_labels(labels, np.ones(1)), make_image(np.zeros((6, 6), np.uint8), "YX")
    )
    assert columns["circularity"].tolist() == [1]
