import os
import shutil
import subprocess
import sys

import cv2
import numpy as np
import onnx
import pytest
import torch

from dsb2018 import Predictor
from dsb2018.commands import export as export_model
from dsb2018.engine import Trainer
from dsb2018.inference import model_files
from dsb2018.modeling.onnx_export import export, link_weights
from dsb2018.runtime.model_spec import ModelSpec
from dsb2018.runtime.onnx_model import OnnxModel, pad
from dsb2018.runtime.packaged import FOLDER
from tests.configs import FAMILIES, small_cfg
from tests.inference.drawing import micrograph


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """A folder with a packaged model as ONNX, in float and in 8-bit integers."""
    folder = tmp_path_factory.mktemp("onnx")
    (folder / "images").mkdir()
    for seed in range(8):
        cv2.imwrite(str(folder / "images" / f"{seed}.png"), micrograph((128, 128), seed)[0])
    options = ["--model", "nuclei_fast"]
    assert export_model.main(["--output", str(folder / "fp32.onnx"), *options]) == 0
    options += ["--int8", "--images", str(folder / "images")]
    assert export_model.main(["--output", str(folder / "int8.onnx"), *options]) == 0
    return folder


@pytest.mark.parametrize(("name", "min_iou"), [("fp32", 0.999), ("int8", 0.98)])
def test_foreground_equals_that_of_torch(exported, name, min_iou):
    torch_predictor = Predictor("nuclei_fast", backend="torch")
    onnx_predictor = Predictor(exported / f"{name}.onnx")
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
    spec = ModelSpec.from_config(cfg)
    export(model, spec, tmp_path / "a.onnx")
    onnx.checker.check_model(str(tmp_path / "a.onnx"))
    network = OnnxModel(tmp_path / "a.onnx")
    assert network.spec == spec
    session = network._session
    divisor = model.size_divisibility
    for count, height, width in ((1, 2, 3), (3, 5, 2)):  # not the sizes of the export
        images = torch.randn(count, 3, height * divisor, width * divisor)
        with torch.no_grad():
            expected = model.maps(images).float().numpy()
        (logits,) = session.run(None, {"image": images.numpy()})
        assert np.abs(logits - expected).max() < 1e-3


@pytest.mark.parametrize("file", sorted(FOLDER.glob("*.onnx")), ids=lambda file: file.stem)
def test_packaged_networks_find_the_nuclei_that_torch_finds(file):
    """They have no weights of their own, but refer to the safetensors file."""
    assert file.stat().st_size < 0.2e6
    onnx_predictor = Predictor(file.stem, backend="onnxruntime")
    torch_predictor = Predictor(file.stem, backend="torch")
    assert onnx_predictor.spec == torch_predictor.spec
    for seed, size in enumerate([(96, 128), (150, 113)], start=20):
        image, _ = micrograph(size, seed)
        expected, found = torch_predictor(image), onnx_predictor(image)
        assert len(found) == len(expected) > 0
        union = (expected.labels > 0) | (found.labels > 0)
        assert (expected.labels != found.labels).sum() <= 1e-3 * union.sum()
        assert np.allclose(expected.scores, found.scores, atol=1e-3)


def test_all_packaged_dense_models_have_a_network():
    models = {file.stem for file in FOLDER.glob("*.safetensors")}
    networks = {file.stem for file in FOLDER.glob("*.onnx")}
    assert models - networks == {"mask_rcnn_lite0_FPN"}


def test_weights_of_another_model_cannot_be_linked(tmp_path):
    cfg = small_cfg(family="simple_cnn/simple_cnn")
    model, spec = Trainer.build_model(cfg).eval(), ModelSpec.from_config(cfg)
    export(model, spec, tmp_path / "a.onnx", keep_weights=True)
    with pytest.raises(ValueError, match="no weights model.* of the shape"):
        link_weights(tmp_path / "a.onnx", FOLDER / "simple_cnn.safetensors")


def test_damaged_weights_of_a_packaged_network(tmp_path, monkeypatch):
    for file in FOLDER.glob("simple_cnn.*"):
        shutil.copy(file, tmp_path)
    monkeypatch.setattr(model_files, "FOLDER", tmp_path)
    assert Predictor("simple_cnn", backend="onnxruntime").spec.channel_order == "RGB"
    weights = tmp_path / "simple_cnn.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    with pytest.raises(ValueError, match=r"simple_cnn\.safetensors: damaged"):
        Predictor("simple_cnn", backend="onnxruntime")


def test_mask_rcnn_raises(tmp_path):
    cfg = small_cfg()
    with pytest.raises(ValueError, match="cannot be exported to ONNX, expected a dense model"):
        export(Trainer.build_model(cfg), ModelSpec.from_config(cfg), tmp_path / "a.onnx")


def test_missing_and_damaged_files_raise(tmp_path, capsys):
    with pytest.raises(FileNotFoundError, match=r"no such file; `dsb2018 export` writes"):
        Predictor(tmp_path / "none.onnx")
    (tmp_path / "noise.onnx").write_bytes(bytes(100))
    with pytest.raises(ValueError, match=r"noise\.onnx: not a network of this version"):
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
    spec = OnnxModel(FOLDER / "nuclei.onnx").spec.to_json()
    onnx.helper.set_model_props(model, {"size_divisibility": divisor, "dsb2018": spec})
    onnx.save(model, str(tmp_path / "a.onnx"))
    reason = "outputs of" if divisor == "8" else f"size_divisibility {divisor}"
    with pytest.raises(ValueError, match=rf"a\.onnx: not a network of this version .*\({reason}"):
        Predictor(tmp_path / "a.onnx")


def test_threads_do_not_change_the_nuclei():
    image, _ = micrograph((160, 224), seed=3)
    predictor = Predictor()
    expected = predictor(image).labels
    predictor.use_threads(all_but=1)
    assert (predictor(image).labels == expected).all()


def test_onnx_runtime_reports_nothing():
    code = "import os, dsb2018; print(os.environ['ORT_DISABLE_TELEMETRY'])"
    environment = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    run = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True)
    assert run.stdout.split() == [b"1"]
