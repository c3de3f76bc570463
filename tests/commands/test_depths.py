"""Prediction on a file and evaluation of a prepared dataset with that file give the same nuclei."""

import cv2
import numpy as np
import pytest
import tifffile

from dsb2018.commands.predict import main
from dsb2018.config import read_config
from dsb2018.data import EvaluationMapper, TrainingMapper, load_dataset
from dsb2018.inference.torch_models import find_config
from dsb2018.modeling.trained import load_model
from dsb2018.prepare import Options, prepare
from tests.inference.drawing import draw_discs

SIZE = 96, 128
LABELS = draw_discs(SIZE, count=8, radius=(7, 12), seed=1)


def images() -> dict[str, np.ndarray]:
    """Returns the same nuclei in every bit depth."""
    noise = np.random.default_rng(0).normal(0, 3, SIZE)
    gray = cv2.GaussianBlur(20 + 90.0 * (LABELS > 0) + noise, (0, 0), 1).clip(0)
    color = np.dstack([0.6 * gray, 0.4 * gray, gray])
    return {
        "png8.png": gray.astype(np.uint8),
        "png8_color.png": color.astype(np.uint8),
        "png16.png": (gray * 200).astype(np.uint16),
        "png16_dark.png": (gray / 2).astype(np.uint16),  # black if only the high byte is read
        "png16_color.png": (color * 200).astype(np.uint16),
        "tif8.tif": gray.astype(np.uint8),
        "tif16.tif": (gray * 16).astype(np.uint16),
        "tif32.tif": (gray * 1e6).astype(np.uint32),
        "signed.tif": (gray * 100 - 3000).astype(np.int16),
        "float.tif": (gray / 255).astype(np.float32),
        "array.npy": gray.astype(np.float64),
    }


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """The images, their labels, the label images of `predict`, and the prepared dataset."""
    root = tmp_path_factory.mktemp("depths")
    for folder in ("images", "labels"):
        (root / "data" / folder).mkdir(parents=True)
    for name, pixels in images().items():
        path = root / "data" / "images" / name
        if name.endswith(".npy"):
            np.save(path, pixels)
        elif name.endswith(".tif"):
            tifffile.imwrite(path, pixels)
        else:
            cv2.imwrite(str(path), pixels if pixels.ndim == 2 else pixels[..., ::-1])
        cv2.imwrite(str(root / "data" / "labels" / f"{path.stem}.png"), LABELS.astype(np.uint16))
    arguments = ["--input", str(root / "data" / "images"), "--output", str(root / "predicted")]
    assert main([*arguments, "--format", "labels", "--backend", "torch"]) == 0
    prepare(Options(root / "data", root / "prepared", name="depths", workers=1, progress=False))
    return root


@pytest.fixture(scope="module")
def model():
    """The config and the model that `predict` uses by default."""
    config, weights = find_config(None, None)
    cfg = read_config(config, ["MODEL.WEIGHTS", weights, "MODEL.DEVICE", "cpu"])
    return cfg, load_model(cfg)


@pytest.mark.parametrize("name", images())
def test_prediction_and_evaluation_give_the_same_nuclei(data, model, name):
    cfg, trained = model
    dicts = load_dataset(data / "prepared" / "annotations" / "dsb2018_depths.json")
    (item,) = [item for item in dicts if item["dsb_id"] == name.rpartition(".")[0]]
    (prediction,) = trained([EvaluationMapper(cfg)(item)])
    predicted = tifffile.imread(data / "predicted" / "labels" / f"{item['dsb_id']}.tif")
    np.testing.assert_array_equal(prediction.nuclei.labels, predicted)
    assert predicted.max() == pytest.approx(LABELS.max(), abs=1)


@pytest.mark.parametrize("name", images())
def test_training_sees_the_same_gray_values(data, model, name):
    cfg, _ = model
    dicts = load_dataset(data / "prepared" / "annotations" / "dsb2018_depths.json")
    (item,) = [item for item in dicts if item["dsb_id"] == name.rpartition(".")[0]]
    percent = cfg.INPUT.STRETCH_PERCENT
    mapper = TrainingMapper(augmentations=[], image_format="RGB", stretch_percent=percent)
    unchanged = cfg.clone()
    unchanged.defrost()
    unchanged.INPUT.ZOOM_TEST = 1.0
    expected = EvaluationMapper(unchanged)(item)["image"]
    np.testing.assert_array_equal(mapper(item)["image"], expected)
