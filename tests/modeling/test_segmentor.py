import pickle

import pytest
import torch
from detectron2.config import get_cfg
from detectron2.layers import ShapeSpec
from detectron2.model_zoo import get_config_file
from detectron2.modeling import build_model
from torch.nn import functional as F

from dsb2018.checkpoint import NucleiCheckpointer
from dsb2018.engine import Trainer
from dsb2018.modeling.semantic_heads import FCNHead, LightHead, UNetHead
from tests.configs import CONFIGS, SMALL_RCNN, SMALL_RESNET, load_cfg

SHAPES = {
    "fine": ShapeSpec(channels=4, stride=2),
    "middle": ShapeSpec(channels=6, stride=4),
    "coarse": ShapeSpec(channels=8, stride=8),
}


def features(height=32, width=48):
    return {
        name: torch.randn(1, s.channels, height // s.stride, width // s.stride)
        for name, s in SHAPES.items()
    }


def test_model_zoo_weights_load_except_for_the_class_layer(tmp_path):
    """A small file from Detectron2's `PanopticFPN` replaces the large files of the model zoo."""
    path = CONFIGS / "semantic_fpn/R_101.yaml"
    cfg = load_cfg(path, *SMALL_RESNET)
    zoo_cfg = get_cfg()
    zoo_cfg.merge_from_file(get_config_file("COCO-PanopticSegmentation/panoptic_fpn_R_101_3x.yaml"))
    zoo_cfg.MODEL.DEVICE = "cpu"
    zoo_cfg.merge_from_list(SMALL_RESNET + SMALL_RCNN)
    zoo = {name: tensor.numpy() for name, tensor in build_model(zoo_cfg).state_dict().items()}
    file = tmp_path / "model_final_cafdb1.pkl"
    content = {"model": zoo, "__author__": "Detectron2 Model Zoo", "matching_heuristics": True}
    file.write_bytes(pickle.dumps(content))
    model = Trainer.build_model(cfg)
    NucleiCheckpointer(model).resume_or_load(str(file), resume=False)
    loaded = model.state_dict()
    differing = {name for name in loaded if loaded[name].shape != zoo[name].shape}
    assert differing == {"sem_seg_head.predictor.weight", "sem_seg_head.predictor.bias"}
    for name in set(loaded) - differing:
        torch.testing.assert_close(loaded[name], torch.from_numpy(zoo[name]))


@pytest.mark.parametrize("depth", [50, 101])
def test_configs_name_files_of_the_model_zoo(depth):
    from detectron2.model_zoo.model_zoo import _ModelZooUrls

    cfg = load_cfg(CONFIGS / f"semantic_fpn/R_{depth}.yaml")
    cfg.merge_from_file(str(CONFIGS / f"semantic_fpn/R_{depth}.yaml"))
    url = _ModelZooUrls.query(f"COCO-PanopticSegmentation/panoptic_fpn_R_{depth}_3x.yaml")
    folder, name = cfg.MODEL.WEIGHTS.split("detectron2://COCO-PanopticSegmentation/")
    assert folder == ""
    assert url.endswith(f"COCO-PanopticSegmentation/{name}")


def test_training_schedule_of_the_papers_resnet():
    cfg = load_cfg(CONFIGS / "semantic_fpn/R_101.yaml")
    assert cfg.MODEL.RESNETS.DEPTH == 101
    assert (cfg.SOLVER.MAX_ITER, cfg.SOLVER.CHECKPOINT_PERIOD) == (20000, 1000)


def test_fcn_head_adds_scores_of_all_strides():
    head = FCNHead(SHAPES, num_classes=3)
    maps = features()
    scores = {name: head.scores[name](maps[name]) for name in maps}
    options = {"scale_factor": 2, "mode": "bilinear", "align_corners": False}
    expected = scores["middle"] + F.interpolate(scores["coarse"], **options)
    expected = scores["fine"] + F.interpolate(expected, **options)
    torch.testing.assert_close(head.layers(maps), expected)


def test_unet_head_output_has_twice_the_finest_size():
    head = UNetHead(SHAPES, num_classes=3, widths=[16, 8, 4], norm="BN")
    assert head.layers(features()).shape == (1, 3, 32, 48)
    assert [join[0].in_channels for join in head.join] == [8 + 6, 16 + 4, 8]
    assert [join[0].out_channels for join in head.join] == [16, 8, 4]


@pytest.mark.parametrize("head", [UNetHead, LightHead])
def test_heads_need_one_width_per_feature_map(head):
    with pytest.raises(ValueError, match=r"HEAD_WIDTHS \[16, 8\], expected 3: one for each of"):
        head(SHAPES, num_classes=2, widths=[16, 8], norm="BN")


@pytest.mark.parametrize("norm", ["", "BN"])
def test_light_head(norm):
    head = LightHead(SHAPES, num_classes=3, widths=[16, 8, 4], norm=norm).eval()
    maps = features()
    x = head.lateral[0](maps["coarse"]).relu()
    for index, name in enumerate(("middle", "fine")):
        reduced = head.reduce[index](x)
        larger = F.interpolate(reduced, scale_factor=2, mode="bilinear", align_corners=False)
        x = (head.lateral[index + 1](maps[name]) + larger).relu()
        for layer in head.refine[index][1:]:
            x = layer(x)
    blocks = head.predictor(x)
    logits = head.layers(maps)
    assert logits.shape == (1, 3, 2 * blocks.shape[2], 2 * blocks.shape[3])
    for channel in range(3):  # each 2×2 block of pixels is predicted at once
        for row, column in ((0, 0), (0, 1), (1, 0), (1, 1)):
            expected = blocks[:, 4 * channel + 2 * row + column]
            torch.testing.assert_close(logits[:, channel, row::2, column::2], expected)


def test_parameter_count_of_the_light_unet():
    model = Trainer.build_model(load_cfg(CONFIGS / "unet/unet_light.yaml"))
    assert sum(parameter.numel() for parameter in model.parameters()) <= 2.5e6


@pytest.mark.parametrize(
    ("config", "stride"), [("semantic_fpn/R_50", 32), ("fcn/R_50", 32), ("unet/unet_light", 16)]
)
def test_size_divisibility(config, stride):
    model = Trainer.build_model(load_cfg(CONFIGS / f"{config}.yaml", *SMALL_RESNET))
    assert model.size_divisibility == stride


def test_logits_are_upsampled_in_float32():
    """In bfloat16, neighboring pixels would have equal values."""
    model = Trainer.build_model(load_cfg(CONFIGS / "fcn/R_50.yaml", *SMALL_RESNET)).eval()
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        maps = model.maps(torch.randn(1, 3, 64, 64))
    assert maps.dtype == torch.float32
    assert (maps.bfloat16().float() != maps).float().mean() > 0.5
