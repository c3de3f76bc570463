"""Readers and writers of the plugin, as napari calls them."""

import numpy as np
import pytest
import tifffile

from dsb2018.commands.main import main
from dsb2018.images import open_images
from dsb2018.napari_plugin import samples
from dsb2018.prepare.forms import open_form
from tests.inference.drawing import micrograph

layers = pytest.importorskip("napari.layers")
npe2 = pytest.importorskip("npe2")


@pytest.fixture(scope="module", autouse=True)
def plugin():
    """Finds the plugin, as napari does when it starts."""
    npe2.PluginManager.instance().discover()
    assert "dsb2018" in npe2.PluginManager.instance()


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    folder = tmp_path_factory.mktemp("results")
    tifffile.imwrite(folder / "plane.tif", micrograph((150, 160))[0])
    tifffile.imwrite(folder / "stack.tif", samples.stack()[0][0], metadata={"axes": "ZYX"})
    arguments = ["--input", str(folder), "--output", str(folder / "out"), "--model", "fast"]
    assert main(["predict", *arguments, "--format", "labels"]) == 0
    return folder / "out"


def read(path):
    return npe2.read([str(path)], stack=False, plugin_name="dsb2018")


def write(path, layer):
    return npe2.write(str(path), [layer.as_layer_data_tuple()], plugin_name="dsb2018")


def test_results_are_read(results):
    found = {
        options["name"]: (labels, options, kind)
        for labels, options, kind in read(results / "nuclei.csv")
    }
    assert set(found) == {"plane", "stack"}
    for name, column in (("plane", "area"), ("stack", "voxels")):
        labels, options, kind = found[name]
        assert kind == "labels"
        assert np.array_equal(labels, tifffile.imread(results / "labels" / f"{name}.tif"))
        layer = layers.Labels(labels, **options)
        assert layer.visible == (name == "plane")
        assert layer.features[column][1:].tolist() == np.bincount(labels.ravel())[1:].tolist()


def test_labels_without_measurements(results, tmp_path):
    (tmp_path / "nuclei.csv").touch()
    (tmp_path / "labels").mkdir()
    (tmp_path / "labels" / "a.tif").write_bytes((results / "labels" / "plane.tif").read_bytes())
    ((_, options, _),) = read(tmp_path / "nuclei.csv")
    assert "features" not in options


def test_images_without_nuclei(tmp_path):
    tifffile.imwrite(tmp_path / "empty.tif", np.zeros((40, 40), np.uint8))
    arguments = ["--input", str(tmp_path), "--output", str(tmp_path / "out"), "--model", "fast"]
    assert main(["predict", *arguments]) == 0
    ((labels, options, _),) = read(tmp_path / "out" / "nuclei.parquet")
    assert labels.max() == 0
    assert "features" not in options


def test_a_table_without_labels(tmp_path):
    (tmp_path / "nuclei.csv").touch()
    with pytest.raises(ValueError, match="no label images beside it"):
        read(tmp_path / "nuclei.csv")


def test_other_files_are_left_to_other_readers():
    from dsb2018.napari_plugin.reader import get_reader

    assert get_reader("a/other.csv") is None
    assert get_reader(["a/nuclei.csv", "b/nuclei.csv"]) is None


@pytest.fixture
def layer(results):
    labels, options, _ = read(results / "nuclei.csv")[0]
    labels[labels == 3] = 0  # labels need not be consecutive
    return layers.Labels(labels, **options, scale=(0.5, 0.25), units=("um", "um"))


def test_tiff(layer, tmp_path):
    write(tmp_path / "a.tif", layer)
    (image,) = open_images("a", tmp_path / "a.tif")
    saved = image.read(0, 0, *image.size)[..., 0]
    assert np.array_equal(saved > 0, layer.data > 0)
    assert saved.max() == layer.data.max() - 1
    with tifffile.TiffFile(tmp_path / "a.tif") as file:
        x, per = file.pages[0].tags["XResolution"].value
        assert x / per == pytest.approx(40_000, rel=1e-6)  # per centimeter


def test_stack(results, tmp_path):
    labels = tifffile.imread(results / "labels" / "stack.tif").astype(np.int32)
    labels[labels == 2] = 0
    write(tmp_path / "a.tif", layers.Labels(labels))
    saved = tifffile.imread(tmp_path / "a.tif")
    pairs = np.unique(np.stack([labels[labels > 0], saved[labels > 0]]), axis=1)
    assert pairs.shape[1] == len(np.unique(labels)) - 1 == saved.max()
    assert np.array_equal(saved > 0, labels > 0)


@pytest.mark.parametrize("suffix", [".geojson", ".zip"])
def test_outlines(layer, tmp_path, suffix):
    """`dsb2018 prepare` reads them, and finds the same nuclei."""
    tifffile.imwrite(tmp_path / "a.tif", np.zeros(layer.data.shape, np.uint8))
    write(tmp_path / f"a{suffix}", layer)
    form = open_form(tmp_path)
    (image,), _ = form.list_images()
    crops = form.read_nuclei(image, *layer.data.shape, [])
    areas = np.bincount(layer.data.ravel())[1:]
    assert sorted(crop.area for crop in crops) == pytest.approx(sorted(areas[areas > 0]), rel=0.02)


def test_measurements_in_geojson(layer, tmp_path):
    write(tmp_path / "a.geojson", layer)
    text = (tmp_path / "a.geojson").read_text()
    assert f'"area": {layer.features["area"][1]}' in text


@pytest.mark.parametrize("suffix", [".geojson", ".zip"])
def test_outlines_of_stacks_are_refused(tmp_path, suffix):
    with pytest.raises(ValueError, match="3 axes, expected 2"):
        write(tmp_path / f"a{suffix}", layers.Labels(np.ones((2, 4, 4), int)))


def test_time_series_are_refused(tmp_path):
    with pytest.raises(ValueError, match="4 axes, expected 2 or 3"):
        write(tmp_path / "a.tif", layers.Labels(np.ones((2, 2, 4, 4), int)))


@pytest.mark.parametrize("make", [samples.fluorescence, samples.histology, samples.stack])
def test_samples(make):
    ((pixels, options, kind),) = make()
    layer = layers.Layer.create(pixels, options, kind)
    assert layer.data.std() > 10
