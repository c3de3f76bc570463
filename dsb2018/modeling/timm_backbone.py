"""Any model of the `timm` library as a Detectron2 backbone."""

import timm
import torch
from detectron2.layers import ShapeSpec
from detectron2.modeling import BACKBONE_REGISTRY, FPN, Backbone
from torch import nn

NORMS = ("BN", "FrozenBN")


class DepthwiseConv2d(nn.Conv2d):
    """A depthwise convolution that stays in float32 under autocast on a CPU.

    There its backward pass takes 3 to 5 times as long in bfloat16 as in float32 (oneDNN of torch
    2.14, AVX-512), which more than eats up what bfloat16 saves elsewhere in the network.
    """

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """See `nn.Conv2d`."""
        if x.device.type != "cpu" or not torch.is_autocast_enabled("cpu"):
            return super().forward(x)
        with torch.autocast("cpu", enabled=False):
            return super().forward(x.float())


class TimmBackbone(Backbone):
    """Feature maps of a timm model, named `stride4`, `stride8`, … after their stride."""

    takes_imagenet_weights = True

    def __init__(self, name: str, strides: list[int], in_channels: int = 3, norm: str = "BN"):
        """
        Args:
            name: a timm model that can give feature maps (`timm.list_models()`); its weights are
                random, `MODEL.WEIGHTS` loads others.
            strides: input pixels per pixel of each feature map that is wanted, rising.
            in_channels: channels of the input image.
            norm: "BN": batch normalisation as timm has it; "FrozenBN": the same, but its statistics
                stay as they were loaded; scales and shifts are still learned.

        Raises:
            ValueError: timm has no such model, or it has no feature map of such a stride; another
                norm.
        """
        super().__init__()
        if norm not in NORMS:
            raise ValueError(f"MODEL.TIMM.NORM {norm!r}, expected one of {NORMS}")
        self._frozen_statistics = norm == "FrozenBN"
        if not timm.is_model(name):
            similar = timm.list_models(f"*{name.split('_')[0]}*")[:5]
            raise ValueError(f"timm {timm.__version__} has no model {name!r}; it has {similar}, …")
        options = {"features_only": True, "in_chans": in_channels}
        reductions = timm.create_model(name, **options).feature_info.reduction()
        missing = [stride for stride in strides if stride not in reductions]
        if missing:
            raise ValueError(f"{name} has no feature map of stride {missing}; it has {reductions}")
        used = [reductions.index(stride) for stride in strides]
        network = timm.create_model(name, out_indices=used, **options)
        if hasattr(network, "blocks"):  # else timm itself leaves out the stages beyond the last map
            stages = [each["stage"] for each in network.feature_info.get_dicts(keys=["stage"])]
            network.blocks = network.blocks[: max(stages)]
        reductions = network.feature_info.reduction()
        channels = dict(zip(reductions, network.feature_info.channels(), strict=True))
        for module in network.modules():
            if type(module) is nn.Conv2d and module.groups == module.in_channels > 1:
                module.__class__ = DepthwiseConv2d  # same weights, same names
        self.network = network
        self._wanted = {f"stride{s}": reductions.index(s) for s in strides}
        self._out_features = list(self._wanted)
        self._out_feature_strides = {f"stride{s}": s for s in strides}
        self._out_feature_channels = {f"stride{s}": channels[s] for s in strides}

    def train(self, mode: bool = True) -> "TimmBackbone":
        """As in `nn.Module`; frozen statistics stay so."""
        super().train(mode)
        if self._frozen_statistics:
            for module in self.modules():
                if isinstance(module, nn.modules.batchnorm._BatchNorm):  # also synchronised ones
                    module.eval()
        return self

    def forward(self, image: torch.Tensor) -> dict[str, torch.Tensor]:
        """(N, C, H, W) float → feature maps by name, each (N, channels, H / stride, W / stride)."""
        maps = self.network(image)
        return {name: maps[index] for name, index in self._wanted.items()}

    def output_shape(self) -> dict[str, ShapeSpec]:
        """Channels and stride of each feature map."""
        return {
            name: ShapeSpec(
                self._out_feature_channels[name], stride=self._out_feature_strides[name]
            )
            for name in self._out_features
        }


@BACKBONE_REGISTRY.register()
def build_timm_backbone(cfg, input_shape: ShapeSpec) -> TimmBackbone:
    """The feature maps of a timm model as they are."""
    return _build(cfg, input_shape)


@BACKBONE_REGISTRY.register()
def build_timm_fpn_backbone(cfg, input_shape: ShapeSpec) -> FPN:
    """A timm model under a feature pyramid; one level a stride, no level on top.

    Detectron2 adds a level of stride 64 for objects of 512 pixels; no nucleus is as large.
    """
    bottom_up = _build(cfg, input_shape)
    return FPN(
        bottom_up=bottom_up,
        in_features=bottom_up._out_features,
        out_channels=cfg.MODEL.FPN.OUT_CHANNELS,
        norm=cfg.MODEL.FPN.NORM,
        fuse_type=cfg.MODEL.FPN.FUSE_TYPE,
    )


def _build(cfg, input_shape: ShapeSpec) -> TimmBackbone:
    timm_cfg = cfg.MODEL.TIMM
    return TimmBackbone(timm_cfg.NAME, list(timm_cfg.STRIDES), input_shape.channels, timm_cfg.NORM)
