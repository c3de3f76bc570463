import pytest
import torch
from detectron2.layers import ShapeSpec

from dsb2018.config import get_dsb2018_cfg
from dsb2018.modeling.timm_backbone import (
    DepthwiseConv2d,
    TimmBackbone,
    build_timm_fpn_backbone,
)


@pytest.mark.parametrize("name", ["efficientnet_lite0", "resnet18", "mobilenetv3_small_050"])
@pytest.mark.parametrize("strides", [[4, 8, 16, 32], [8, 32]])
def test_feature_maps_have_the_requested_strides(name, strides):
    backbone = TimmBackbone(name, strides).eval()
    shapes = backbone.output_shape()
    assert list(shapes) == [f"stride{stride}" for stride in strides]
    with torch.no_grad():
        maps = backbone(torch.randn(1, 3, 64, 96))
    for stride in strides:
        shape = shapes[f"stride{stride}"]
        assert shape.stride == stride
        assert maps[f"stride{stride}"].shape == (1, shape.channels, 64 // stride, 96 // stride)


def test_error_messages_list_the_available_values():
    with pytest.raises(ValueError, match="no model 'efficientnet_lite9'; it has .*efficientnet"):
        TimmBackbone("efficientnet_lite9", [4])
    with pytest.raises(ValueError, match=r"no feature map of stride \[64\]; it has \[2, 4,"):
        TimmBackbone("efficientnet_lite0", [4, 64])
    with pytest.raises(ValueError, match="TIMM.NORM 'IN', expected one of"):
        TimmBackbone("efficientnet_lite0", [4], norm="IN")


@pytest.mark.parametrize(("norm", "changes"), [("BN", True), ("FrozenBN", False)])
def test_statistics_change_only_without_frozen_bn(norm, changes):
    backbone = TimmBackbone("mobilenetv3_small_050", [4, 8], norm=norm).train()
    before = {name: value.clone() for name, value in backbone.state_dict().items()}
    maps = backbone(5 * torch.randn(2, 3, 32, 32))
    changed = [
        name
        for name, value in backbone.state_dict().items()
        if "running" in name and not torch.equal(value, before[name])
    ]
    assert bool(changed) == changes
    sum(level.sum() for level in maps.values()).backward()
    layer = next(m for m in backbone.modules() if isinstance(m, torch.nn.BatchNorm2d))
    assert layer.weight.grad.abs().sum() > 0  # scales and shifts are trained in both cases
    assert backbone.training


def test_feature_pyramid():
    cfg = get_dsb2018_cfg()
    cfg.MODEL.FPN.OUT_CHANNELS = 24
    pyramid = build_timm_fpn_backbone(cfg, ShapeSpec(channels=3)).eval()
    with torch.no_grad():
        maps = pyramid(torch.randn(1, 3, 64, 96))
    assert {name: tuple(m.shape) for name, m in maps.items()} == {
        "p2": (1, 24, 16, 24),
        "p3": (1, 24, 8, 12),
        "p4": (1, 24, 4, 6),
        "p5": (1, 24, 2, 3),
    }


def test_depthwise_convolutions_stay_in_float32_under_autocast():
    backbone = TimmBackbone("efficientnet_lite0", [4])
    depthwise = [m for m in backbone.modules() if isinstance(m, DepthwiseConv2d)]
    assert depthwise
    layer, x = depthwise[0], torch.randn(1, depthwise[0].in_channels, 8, 8)
    expected = layer(x)
    with torch.autocast("cpu", torch.bfloat16):
        torch.testing.assert_close(layer(x), expected, rtol=0, atol=0)
        assert torch.nn.functional.conv2d(x, layer.weight, groups=layer.groups).dtype == (
            torch.bfloat16
        )
