"""Packages of bioimage.io: ours in their reference library, and those of others here."""

import subprocess
import sys
import zipfile

import numpy as np
import pytest
import torch
import yaml

from dsb2018 import Predictor
from dsb2018.commands.main import main
from dsb2018.errors import UsageError
from dsb2018.inference import bioimageio_models
from dsb2018.inference.bioimageio_models import read_named_maps
from dsb2018.structures.scale import resize_by
from tests.inference.drawing import micrograph

needs_core = pytest.mark.skipif(
    not bioimageio_models.has_core(), reason="bioimageio.core is not installed"
)


@pytest.fixture(scope="module", params=["nuclei_fast", "simple_cnn", "gray"])
def package(request, tmp_path_factory):
    """A package that `dsb2018 export` wrote, and the name of its model."""
    model = "nuclei_fast" if request.param == "gray" else request.param
    path = tmp_path_factory.mktemp(request.param) / f"{model}.zip"
    arguments = ["--model", model, "--format", "bioimageio", "--output", str(path)]
    assert main(["export", *arguments, *(["--gray"] if request.param == "gray" else [])]) == 0
    return path, model


@needs_core
@pytest.mark.parametrize("package", ["nuclei_fast"], indirect=True)
def test_the_reference_library_accepts_it(package):
    command = [sys.executable, "-W", "ignore", "-m", "bioimageio.core", "test", str(package[0])]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
    assert "passed" in result.stdout
    assert "❌" not in result.stdout


@needs_core
def test_maps_in_the_reference_library(package):
    """At the scale of the model, they are the maps of the model."""
    from bioimageio.core import Sample, Tensor, create_prediction_pipeline, load_model_description

    path, model = package
    predictor = Predictor(model)
    pixels, _ = micrograph((256, 320), seed=4)
    zoomed = resize_by(pixels[..., None], 0.8)[:192, :256, 0]
    description = load_model_description(path, format_version="latest")
    channels = len(description.inputs[0].axes[1].channel_names)
    array = np.broadcast_to(zoomed.astype(np.float32), (1, channels, *zoomed.shape))
    tensor = Tensor(array, dims=("batch", "channel", "y", "x"))
    sample = Sample(members={description.inputs[0].id: tensor}, stat={}, id=None)
    result = create_prediction_pipeline(description).predict_sample_without_blocking(sample)
    maps = np.concatenate([np.asarray(result.members[o.id].data)[0] for o in description.outputs])

    rgb = predictor.prepare(zoomed)
    inputs = {**predictor.preprocess.model_input(rgb), "zoom": 1.0}
    (expected,) = predictor._model.predict_maps([inputs])
    # The contrast is stretched without rounding to 8 bits, so the input differs a little.
    assert np.abs(maps[0] - expected.nucleus).mean() < 0.005
    if expected.offsets is not None:
        inside = expected.nucleus > 0.9
        assert np.abs(maps[2:] - expected.offsets)[:, inside].mean() < 0.4


@pytest.mark.parametrize("threshold", [None, 0.8])
def test_it_finds_the_nuclei_of_its_model(package, threshold):
    path, model = package
    pixels, _ = micrograph((150, 170))
    found = Predictor(path, threshold=threshold)(pixels)
    expected = Predictor(model, threshold=threshold)(pixels)
    assert len(found) == len(expected) > 5
    assert np.mean((found.labels > 0) != (expected.labels > 0)) < 1e-4
    assert np.abs(found.scores - expected.scores).max() < 1e-3


def test_content(package):
    path, model = package
    with zipfile.ZipFile(path) as archive:
        description = yaml.safe_load(archive.read("bioimageio.yaml"))
        document = archive.read("README.md").decode()
        names = set(archive.namelist())
    assert {"network.onnx", "network.pt", "cover.png", "input.npy"} < names
    assert description["license"] == "Apache-2.0"
    assert description["cite"][0]["doi"] == "10.1038/s41592-019-0612-7"
    assert "## Validation" in document
    assert "| dsb2018_val | mAP |" in document
    assert ("offsets" in document) == (model == "nuclei_fast")


@pytest.mark.parametrize(
    ("output", "options", "message"),
    [
        ("a.zip", [], "a zip file needs --format bioimageio"),
        ("a.zip", ["--format", "bioimageio"], "at least 5 characters"),
        ("a.onnx", ["--model", "b.onnx"], "b.onnx: it is exported"),
    ],
)
def test_unusable_options(tmp_path, capsys, output, options, message):
    assert main(["export", "--output", str(tmp_path / output), *options]) == 2
    assert message in capsys.readouterr().err


def test_details(tmp_path):
    path = tmp_path / "mine.zip"
    options = ["--name", "My nuclei", "--author", "A. Author", "B. Author", "--license", "MIT"]
    arguments = ["--model", "simple_cnn", "--format", "bioimageio", "--output", str(path)]
    assert main(["export", *arguments, *options, "--opts", "MODEL.DEVICE", "cpu"]) == 0
    with zipfile.ZipFile(path) as archive:
        description = yaml.safe_load(archive.read("bioimageio.yaml"))
        assert "No scores are known." in archive.read("README.md").decode()
    assert description["name"] == "My nuclei"
    assert description["license"] == "MIT"
    assert [author["name"] for author in description["authors"]] == ["A. Author", "B. Author"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--output", "a.onnx"], "a package of bioimage.io ends in .zip"),
        (["--output", "a.zip", "--int8", "--images", "x"], "--int8 is not for"),
    ],
)
def test_options_that_do_not_fit(capsys, options, message):
    assert main(["export", "--format", "bioimageio", *options]) == 2
    assert message in capsys.readouterr().err


def test_models_that_cannot_be_exported(tmp_path, capsys):
    output = ["--format", "bioimageio", "--output", str(tmp_path / "model.zip")]
    assert main(["export", "--model", "mask_rcnn", *output]) == 1
    assert "expected a dense model" in capsys.readouterr().err
    means = ["--opts", "MODEL.PIXEL_MEAN", "[1.0, 2.0, 3.0]"]
    assert main(["export", "--model", "simple_cnn", *output, "--gray", *means]) == 1
    assert "normalizes red, green and blue differently" in capsys.readouterr().err
    assert not (tmp_path / "model.zip").exists()


class Toy(torch.nn.Module):
    """Finds bright pixels, and says that the columns 80 to 82 are boundaries."""

    def __init__(self, kind):
        super().__init__()
        self.kind = kind

    def forward(self, image):
        gray = image.mean(dim=1, keepdim=True)
        nucleus = torch.sigmoid(20 * (gray - 0.5))
        boundary = torch.zeros_like(gray)
        boundary[..., 80:83] = 1
        if self.kind == "distance":
            distance = 7 * (1 - boundary) * nucleus
            return torch.cat([distance, nucleus], dim=1)
        if self.kind == "foreground":
            return nucleus
        return torch.cat([nucleus, boundary], dim=1)


TOYS = {
    "unnamed": ["channel0", "channel1"],
    "boundary": ["foreground", "boundary"],
    "distance": ["distance", "foreground"],
    "foreground": ["channel0"],
}


def write_toy(path, kind, *, channels=1, **changes):
    """Writes a package as others do, in version 0.5 of the format."""
    network, example = Toy(kind).eval(), torch.rand(1, channels, 64, 64)
    with zipfile.ZipFile(path, "w") as archive:
        with archive.open("weights.pt", "w") as file:
            torch.jit.save(torch.jit.trace(network, example), file)
        for name, value in (("in.npy", example), ("out.npy", network(example))):
            with archive.open(name, "w") as file:
                np.save(file, value.numpy())
        space = [{"type": "space", "id": axis, "size": {"min": 64, "step": 16}} for axis in "yx"]
        same = [
            {"type": "space", "id": axis, "size": {"tensor_id": "raw", "axis_id": axis}, "halo": 8}
            for axis in "yx"
        ]
        description = {
            "type": "model",
            "format_version": "0.5.3",
            "name": f"toy {kind}",
            "description": "bright pixels",
            "authors": [{"name": "somebody"}],
            "cite": [{"text": "a paper", "doi": "10.1038/s41592-019-0612-7"}],
            "license": "MIT",
            "documentation": "README.md",
            "inputs": [
                {
                    "id": "raw",
                    "axes": [
                        {"type": "batch"},
                        {"type": "channel", "channel_names": [f"c{n}" for n in range(channels)]},
                        *space,
                    ],
                    "preprocessing": [
                        {
                            "id": "scale_range",
                            "kwargs": {
                                "axes": ["y", "x"],
                                "min_percentile": 1,
                                "max_percentile": 99,
                            },
                        }
                    ],
                    "test_tensor": {"source": "in.npy"},
                }
            ],
            "outputs": [
                {
                    "id": "prediction",
                    "axes": [
                        {"type": "batch"},
                        {"type": "channel", "channel_names": TOYS[kind]},
                        *same,
                    ],
                    "test_tensor": {"source": "out.npy"},
                }
            ],
            "weights": {"torchscript": {"source": "weights.pt", "pytorch_version": "2.4.0"}},
            **changes,
        }
        archive.writestr("README.md", "# Toy\n\n## Validation\n\nnone\n")
        archive.writestr("rdf.yaml", yaml.safe_dump(description))
    return path


def two_squares():
    """Returns a (100, 160) image of two bright squares that touch in the columns 80 to 82."""
    pixels = np.full((100, 160), 20, np.uint16)
    pixels[30:70, 40:81] = 3000
    pixels[30:70, 81:120] = 2900
    return pixels


@needs_core
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("kind", list(TOYS))
def test_packages_of_others(tmp_path, kind, channels):
    nuclei = Predictor(write_toy(tmp_path / "toy.zip", kind, channels=channels))(two_squares())
    areas = sorted(nuclei.areas.tolist())
    if kind == "foreground":
        assert areas == [40 * 80]
    else:
        assert len(areas) == 2
        assert sum(areas) == pytest.approx(40 * 80, abs=160)


@needs_core
def test_predict_with_a_package_of_others(tmp_path):
    import tifffile

    tifffile.imwrite(tmp_path / "a.tif", two_squares())
    write_toy(tmp_path / "toy.zip", "boundary")
    output = ["--output", str(tmp_path / "results"), "--format", "labels"]
    arguments = ["--input", str(tmp_path / "a.tif"), "--model", str(tmp_path / "toy.zip")]
    assert main(["predict", *arguments, *output]) == 0
    assert tifffile.imread(tmp_path / "results" / "labels" / "a.tif").max() == 2


@needs_core
def test_large_images_are_tiled(tmp_path):
    pixels = np.zeros((200, 1500), np.uint8)
    for x in range(10, 1490, 40):
        pixels[80:100, x : x + 20] = 200
    nuclei = Predictor(write_toy(tmp_path / "toy.zip", "foreground"))(pixels)
    assert len(nuclei) == len(range(10, 1490, 40))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"weights": {"pytorch_state_dict": {"source": "w.pt"}}},
            "no weights as onnx or torchscript",
        ),
        ({"weights": {"onnx": {"source": "https://x.org/w.onnx"}}}, "are not in the package"),
        ({"weights": {"onnx": {"source": "../w.onnx"}}}, "are not in the package"),
        ({"weights": {"onnx": {"source": "/w.onnx"}}}, "are not in the package"),
        (
            {"outputs": [{"postprocessing": [{"id": "custom"}]}]},
            "needs the step 'custom', which is not supported",
        ),
        ({"inputs": [{"preprocessing": [{"name": "magic"}]}]}, "needs the step 'magic'"),
    ],
)
def test_packages_that_are_refused(tmp_path, changes, message):
    with pytest.raises(UsageError, match=message):
        Predictor(write_toy(tmp_path / "toy.zip", "boundary", **changes))


@needs_core
def test_inputs_that_are_refused(tmp_path):
    with pytest.raises(UsageError, match="2 channels, expected 1 or 3"):
        Predictor(write_toy(tmp_path / "toy.zip", "boundary", channels=2))


def test_missing_library(tmp_path, monkeypatch):
    monkeypatch.setattr(bioimageio_models, "has_core", lambda: False)
    with pytest.raises(ImportError, match=r'pip install "dsb2018\[bioimageio\]"'):
        Predictor(write_toy(tmp_path / "toy.zip", "boundary"))


@pytest.mark.parametrize(
    "content", [None, "", "- a", "type: image", "a: [", "type: model\nx: &a [*a]"]
)
def test_files_that_are_no_package(tmp_path, content):
    path = tmp_path / "a.zip"
    if content is None:
        path.write_bytes(b"not a zip file")
    else:
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("bioimageio.yaml", content)
    with pytest.raises((ValueError, UsageError), match=r"a\.zip: (not a package|no weights)"):
        Predictor(path)


def test_missing_file(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"a\.zip"):
        Predictor(tmp_path / "a.zip")


def plane(value):
    return np.full((4, 5), value, np.float32)


def test_meaning_of_maps():
    maps = read_named_maps([("Cell border", plane(0.25)), ("Nuclei", plane(0.5))], "x")
    assert maps.nucleus[0, 0] == 0.5
    assert maps.interior[0, 0] == 0.5 * 0.75
    maps = read_named_maps([("a", plane(0.5)), ("b", plane(1))], "x")
    assert maps.interior[0, 0] == 0
    maps = read_named_maps([("foreground", plane(1)), ("distance", plane(8))], "x")
    assert maps.interior[0, 0] == 1
    assert read_named_maps([("x", plane(1))], "x").interior is None


@pytest.mark.parametrize(
    ("channels", "message"),
    [
        ([("a", 0), ("b", 0), ("c", 0)], "the maps a, b, c, expected a foreground"),
        ([("boundary", 0)], "expected a foreground"),
        ([("foreground", 4)], "outside of 0 to 1"),
        ([("foreground", -4)], "outside of 0 to 1"),
    ],
)
def test_maps_that_are_no_nuclei(channels, message):
    with pytest.raises(ValueError, match=message):
        read_named_maps([(name, plane(value)) for name, value in channels], "x")
