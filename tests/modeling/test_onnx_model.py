import cv2
import export_model
import numpy as np
import onnx
import pytest
import torch

from dsb2018 import Predictor
from dsb2018.engine import Trainer
from dsb2018.modeling.onnx_export import export
from dsb2018.modeling.onnx_model import OnnxModel, pad
from tests.configs import FAMILIES, small_cfg
from tests.inference.test_predictor import micrograph


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """A folder with the packaged model as ONNX, in float and in 8-bit integers."""
    folder = tmp_path_factory.mktemp("onnx")
    (folder / "images").mkdir()
    for seed in range(8):
        cv2.imwrite(str(folder / "images" / f"{seed}.png"), micrograph((128, 128), seed)[0])
    assert export_model.main(["--output", str(folder / "fp32.onnx")]) == 0
    options = ["--int8", "--images", str(folder / "images")]
    assert export_model.main(["--output", str(folder / "int8.onnx"), *options]) == 0
    return folder


@pytest.mark.parametrize(("name", "min_iou"), [("fp32", 0.999), ("int8", 0.98)])
def test_foreground_equals_that_of_torch(exported, name, min_iou):
    torch_predictor = Predictor()
    onnx_predictor = Predictor(weights=exported / f"{name}.onnx", backend="onnxruntime")
    intersection = union = 0
    for seed, size in enumerate([(128, 128), (200, 173), (64, 300)], start=20):
        image, _ = micrograph(size, seed)
        expected, foreground = torch_predictor(image).labels > 0, onnx_predictor(image).labels > 0
        assert foreground.shape == size
        intersection += (expected & foreground).sum()
        union += (expected | foreground).sum()
    assert intersection / union >= min_iou


def test_quantized_file_is_smaller(exported):
    fp32, int8 = (exported / f"{name}.onnx" for name in ("fp32", "int8"))
    assert int8.stat().st_size < 0.6 * fp32.stat().st_size


@pytest.mark.parametrize("family", [family for family in FAMILIES if "rcnn" not in family])
def test_all_dense_models_can_be_exported(tmp_path, family):
    torch.manual_seed(0)
    cfg = small_cfg(family=family)
    model = Trainer.build_model(cfg).eval()
    export(model, tmp_path / "a.onnx")
    onnx.checker.check_model(str(tmp_path / "a.onnx"))
    cfg.MODEL.WEIGHTS = str(tmp_path / "a.onnx")
    session = OnnxModel(cfg)._session
    divisor = model.size_divisibility
    for count, height, width in ((1, 2, 3), (3, 5, 2)):  # not the sizes of the export
        images = torch.randn(count, 3, height * divisor, width * divisor)
        with torch.no_grad():
            expected = model.maps(images).float().numpy()
        (logits,) = session.run(None, {"image": images.numpy()})
        assert np.abs(logits - expected).max() < 1e-3


def test_mask_rcnn_raises(tmp_path):
    with pytest.raises(ValueError, match="cannot be exported to ONNX, expected a dense model"):
        export(Trainer.build_model(small_cfg()), tmp_path / "a.onnx")


def test_missing_and_damaged_files_raise(tmp_path, capsys):
    with pytest.raises(FileNotFoundError, match="write one with tools/export_model.py"):
        Predictor(weights=tmp_path / "none.onnx", backend="onnxruntime")
    (tmp_path / "noise.onnx").write_bytes(bytes(100))
    with pytest.raises(ValueError, match=r"noise\.onnx: not a network of tools/export_model\.py"):
        Predictor(weights=tmp_path / "noise.onnx", backend="onnxruntime")
    assert export_model.main(["--output", str(tmp_path / "a.onnx"), "--int8"]) == 2
    assert export_model.main(["--output", "a.onnx", "--config-file", "none.yaml"]) == 2
    assert "none.yaml: no such config file" in capsys.readouterr().err


def test_pad():
    padded = pad(np.ones((2, 3, 5, 8), np.float32), 4)
    assert padded.shape == (2, 3, 8, 8)
    assert padded.sum() == 2 * 3 * 5 * 8


@pytest.mark.parametrize("divisor", ["-8", "0", "100000", "8"])
def test_networks_with_other_outputs_raise(tmp_path, divisor):
    node = onnx.helper.make_node("ReduceMean", ["image"], ["logits"], axes=[2, 3])
    shapes = [["n", 3, "h", "w"], ["n", 3, 1, 1]]
    values = [
        onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, shape)
        for name, shape in zip(("image", "logits"), shapes, strict=True)
    ]
    graph = onnx.helper.make_graph([node], "g", values[:1], values[1:])
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 13)])
    model.ir_version = 8
    onnx.helper.set_model_props(model, {"size_divisibility": divisor})
    onnx.save(model, str(tmp_path / "a.onnx"))
    with pytest.raises(ValueError, match=r"a\.onnx: not a network of tools/export_model\.py"):
        Predictor(weights=tmp_path / "a.onnx", backend="onnxruntime")
