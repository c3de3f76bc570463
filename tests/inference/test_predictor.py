import importlib.util
import subprocess
import sys

import cv2
import numpy as np
import pytest
import torch

from dsb2018 import Predictor
from dsb2018.checkpoint import FOLDER, NucleiCheckpointer
from dsb2018.data import EvaluationMapper
from dsb2018.engine import Trainer
from dsb2018.errors import UsageError
from dsb2018.inference.opened_model import DEFAULT
from dsb2018.inference.tiling.tiles import Tiling
from dsb2018.inference.torch_models import find_config
from dsb2018.runtime.packaged import find_packaged
from dsb2018.structures.instances import read_output
from tests.configs import CONFIGS, load_cfg
from tests.inference.drawing import micrograph, same_nuclei


@pytest.fixture(scope="module")
def predictor() -> Predictor:
    """The packaged model."""
    return Predictor()


def test_predictions_match_the_ground_truth(predictor):
    image, ground_truth = micrograph()
    nuclei = predictor(image)
    assert nuclei.labels.shape == image.shape
    assert len(nuclei) == pytest.approx(ground_truth.max(), abs=2)
    predicted, expected = nuclei.labels > 0, ground_truth > 0
    assert (predicted & expected).sum() / (predicted | expected).sum() > 0.8
    assert ((nuclei.scores > 0.5) & (nuclei.scores <= 1)).all()


def test_the_predictor_and_the_trainer_get_the_same_nuclei(tmp_path):
    image, _ = micrograph(size=(200, 300))
    path = str(tmp_path / "a.png")
    cv2.imwrite(path, image)
    config, weights = find_config(DEFAULT, None)
    cfg = load_cfg(config)
    model = Trainer.build_model(cfg).eval()
    NucleiCheckpointer(model).load(weights)
    sample = EvaluationMapper(cfg)({"file_name": path, "height": 200, "width": 300})
    with torch.no_grad():
        (output,) = model([sample])
    # This diameter leaves the image as it is.
    predictor = Predictor(diameter=cfg.INPUT.DIAMETER, backend="torch")
    labels = read_output(output, 0.0).nuclei.labels
    assert same_nuclei(predictor(image).labels, labels)


def test_equivalent_images_have_the_same_nuclei(predictor):
    image, _ = micrograph()
    expected = predictor(image)
    color = np.dstack([image] * 3)
    alpha = np.dstack([color, np.full_like(image, 9)])
    for other in (image[..., None], color, alpha, image.astype(np.uint16) * 257):
        assert (predictor(other).labels == expected.labels).all()
    assert same_nuclei(predictor(image.astype(np.float32) / 255).labels > 0, expected.labels > 0)


@pytest.mark.parametrize("shape", [(5,), (4, 5, 2), (4, 5, 5), (0, 5), (2, 3, 4, 5)])
def test_other_shapes_are_an_error(predictor, shape):
    with pytest.raises(ValueError, match="an image of shape"):
        predictor(np.zeros(shape, np.uint8))


def test_nan_is_an_error(predictor):
    with pytest.raises(ValueError, match="NaN"):
        predictor(np.full((30, 30), np.nan))


@pytest.mark.parametrize("size", [(1, 1), (7, 300), (33, 65)])
def test_small_images_and_odd_sizes(predictor, size):
    assert predictor(np.random.default_rng(0).integers(0, 255, size, np.uint8)).size == size
    assert len(predictor(np.zeros(size, np.uint8))) == 0


def test_a_batch_gives_the_same_nuclei_as_single_images(predictor):
    images = [micrograph(size, seed)[0] for seed, size in enumerate([(128, 128)] * 3 + [(96, 160)])]
    for image, nuclei in zip(images, predictor.batch(images), strict=True):
        assert same_nuclei(nuclei.labels, predictor(image).labels)
    assert predictor.batch([]) == []


@pytest.mark.parametrize("diameter", [14, 24, 31])
def test_tiles_give_the_same_nuclei_as_the_whole_image(diameter):
    image, _ = micrograph((700, 900), seed=4)
    whole = Predictor(tiling=Tiling(1024, 96), diameter=diameter)(image)
    tiled = Predictor(tiling=Tiling(512, 96, whole=512), diameter=diameter)(image)
    assert len(tiled) == pytest.approx(len(whole), rel=0.005)
    a, b = whole.labels, tiled.labels
    ious = []
    for label in range(1, len(whole) + 1):
        mask = a == label
        partner = np.bincount(b[mask]).argmax()
        ious.append((mask & (b == partner)).sum() / (mask | (b == partner)).sum() if partner else 0)
    assert np.mean(ious) > 0.98


def test_diameter_of_a_large_image_is_that_of_its_windows():
    image, ground_truth = micrograph((700, 900), seed=4)
    tiled = Predictor("fast", tiling=Tiling(512, 96, whole=512))(image)
    assert len(tiled) == pytest.approx(ground_truth.max(), rel=0.05)
    small = cv2.resize(image, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
    tiled = Predictor("fast", tiling=Tiling(256, 96, whole=256))(small)
    assert len(tiled) == pytest.approx(ground_truth.max(), rel=0.1)


def test_diameter_is_for_models_that_use_it():
    config = str(CONFIGS / "simple_cnn" / "simple_cnn.yaml")
    with pytest.raises(UsageError, match="diameter 20: this model does not use the diameter"):
        Predictor(config, diameter=20)


@pytest.mark.parametrize("diameter", [0, -5, 1e6, np.nan, np.inf])
def test_diameters_out_of_range(diameter):
    with pytest.raises(UsageError, match="expected 1 to 10000 pixels"):
        Predictor(diameter=diameter)


@pytest.mark.parametrize("threshold", [-0.1, 4, np.nan])
def test_thresholds_out_of_range(threshold):
    with pytest.raises(UsageError, match="expected 0 to 1"):
        Predictor(threshold=threshold)


def test_mask_rcnn(predictor):
    image, ground_truth = micrograph(size=(128, 160))
    nuclei = Predictor(str(CONFIGS / "mask_rcnn" / "lite0_FPN.yaml"))(image)
    assert len(nuclei) == pytest.approx(ground_truth.max(), abs=2)
    assert (nuclei.areas > 0).all()
    assert (np.diff(nuclei.scores) <= 0).all()  # by decreasing score


def test_find_config(tmp_path):
    config = str(CONFIGS / "unet" / "unet_light.yaml")
    nuclei = str(FOLDER / "nuclei.yaml")
    assert find_config(None, None) == (nuclei, "dsb2018://nuclei")
    assert find_config("dsb2018://nuclei", "w.pth") == (nuclei, "w.pth")
    assert find_config(None, None, ["MODEL.WEIGHTS", "w.pth"]) == (nuclei, "w.pth")
    assert find_config(config, None, ["X", "y", "MODEL.WEIGHTS", "w.pth"]) == (config, "w.pth")
    with pytest.raises(FileNotFoundError, match="no such config file"):
        find_config(str(tmp_path / "none.yaml"), None)
    with pytest.raises(FileNotFoundError, match=r"no weights in its OUTPUT_DIR or in this package"):
        find_config(str(CONFIGS / "fcn" / "R_50.yaml"), None)


def test_the_folder_of_a_training_is_a_model(tmp_path):
    config = tmp_path / "config.yaml"
    config.write_text((FOLDER / "nuclei.yaml").read_text())
    for name in ("model_final.pth", "model_best.pth"):
        (tmp_path / name).touch()
        assert find_config(tmp_path, None) == (str(config), str(tmp_path / name))


@pytest.mark.parametrize(
    ("name", "full"),
    [
        ("nuclei", "nuclei"),
        ("light", "unet_light"),
        ("unet", "unet"),
        ("dsb2018://mask_rcnn", "mask_rcnn_lite0_FPN"),
        ("fpn", "semantic_fpn_lite0"),
    ],
)
def test_names_of_packaged_models(name, full):
    assert find_packaged(name) == full


@pytest.mark.parametrize("name", ["", "lite0", "unknown", "some/folder"])
def test_unknown_and_ambiguous_names(name):
    with pytest.raises(UsageError, match="expected mask_rcnn_lite0_FPN, nuclei, .*an ONNX file"):
        Predictor(name or "dsb2018://")


def test_backends(tmp_path):
    with pytest.raises(UsageError, match="backend 'tpu', expected one of auto, torch"):
        Predictor(backend="tpu")
    with pytest.raises(UsageError, match="mask_rcnn: backend onnxruntime, expected an ONNX file"):
        Predictor("mask_rcnn", backend="onnxruntime")
    for arguments in ({"backend": "torch"}, {"options": ["A", "b"]}, {"model": "nuclei"}):
        with pytest.raises(UsageError, match=r"a\.onnx: this file contains its config"):
            Predictor(**{"weights": tmp_path / "a.onnx", **arguments})


def test_without_torch_the_message_says_what_to_install(monkeypatch):
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "torch" else find_spec(name)
    )
    with pytest.raises(ImportError, match=r"mask_rcnn: this model needs torch.*dsb2018\[train\]"):
        Predictor("mask_rcnn")


@pytest.mark.parametrize("backend", ["onnxruntime", "torch"])
def test_a_lower_threshold_finds_larger_nuclei(backend):
    image, _ = micrograph()
    low, high = (Predictor(threshold=share, backend=backend)(image) for share in (0.2, 0.8))
    assert (low.labels > 0).sum() > 1.05 * (high.labels > 0).sum()


def test_a_higher_threshold_finds_fewer_nuclei_with_mask_rcnn():
    image = micrograph(size=(128, 160))[0]
    low, high = (Predictor("mask_rcnn", threshold=share)(image) for share in (0.05, 0.998))
    assert len(low) > len(high)


def test_the_package_is_imported_without_torch(project):
    code = "import sys, dsb2018; light = 'torch' not in sys.modules; "
    code += "from dsb2018 import Predictor; print(light, Predictor.__name__)"
    process = subprocess.run(
        [sys.executable, "-c", code], cwd=project, capture_output=True, text=True
    )
    assert process.stdout.split() == ["True", "Predictor"], process.stderr


def test_fingerprints_depend_on_the_config(predictor):
    assert predictor.fingerprint == Predictor().fingerprint
    assert predictor.fingerprint != Predictor(options=["TEST.SCORE_THRESH", 0.9]).fingerprint
