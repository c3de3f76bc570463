"""Models of the `timm` library as Detectron2 backbones."""

import torch
from detectron2.layers import ShapeSpec
from detectron2.modeling import BACKBONE_REGISTRY, FPN, Backbone
from torch import nn

NORMS = ("BN", "FrozenBN")


class DepthwiseConv2d(nn.Conv2d):
    """A depthwise convolution that stays in float32 under autocast on a CPU.

    On a CPU, its backward pass takes 3 to 5 times as long in bfloat16 as in float32 (oneDNN of
    torch 2.14, AVX-512). This costs more time than bfloat16 saves in the rest of the network.
    """

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """See `nn.Conv2d`."""
        if x.device.type != "cpu" or not torch.is_autocast_enabled("cpu"):
            return super().forward(x)
        with torch.autocast("cpu", enabled=False):
            return super().forward(x.float())


class TimmBackbone(Backbone):
    """A timm model whose feature maps are named by their stride: `stride4`, `stride8`, …"""

    takes_imagenet_weights = True

    def __init__(self, name: str, strides: list[int], in_channels: int = 3, norm: str = "BN"):
        """
        Args:
            name: a timm model with feature maps (`timm.list_models()`). Its weights are random;
                `MODEL.WEIGHTS` loads others.
            strides: strides of the returned feature maps in input pixels, in ascending order.
            in_channels: number of channels of the input image.
            norm: "BN": timm's batch normalization; "FrozenBN": the same with the statistics of the
                loaded weights, while scales and shifts are trained.

        Raises:
            ValueError: unknown model, a stride without a feature map, or unknown norm.
        """
        import timm  # takes a second, which trainings without it need not wait

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
        if hasattr(network, "blocks"):  # timm keeps the unused last stages of these models
            stages = [info["stage"] for info in network.feature_info.get_dicts(keys=["stage"])]
            network.blocks = network.blocks[: max(stages)]
        reductions = network.feature_info.reduction()
        channels = dict(zip(reductions, network.feature_info.channels(), strict=True))
        for module in network.modules():
            if type(module) is nn.Conv2d and module.groups == module.in_channels > 1:
                module.__class__ = DepthwiseConv2d  # keeps the weights and their names
        self.network = network
        self._map_indices = {f"stride{stride}": reductions.index(stride) for stride in strides}
        self._out_features = list(self._map_indices)
        self._out_feature_strides = {f"stride{stride}": stride for stride in strides}
        self._out_feature_channels = {f"stride{stride}": channels[stride] for stride in strides}

    def train(self, mode: bool = True) -> "TimmBackbone":
        """Sets the training mode, see `nn.Module.train`. Frozen statistics stay frozen."""
        super().train(mode)
        if self._frozen_statistics:
            for module in self.modules():
                if isinstance(module, nn.modules.batchnorm._BatchNorm):  # also synchronized
                    module.eval()
        return self

    def forward(self, image: torch.Tensor) -> dict[str, torch.Tensor]:
        """Computes the feature maps of (N, C, H, W) float images.

        Returns:
            {name: (N, channels, H / stride, W / stride)}.
        """
        maps = self.network(image)
        return {name: maps[index] for name, index in self._map_indices.items()}

    def output_shape(self) -> dict[str, ShapeSpec]:
        """Returns the channels and the stride of each feature map."""
        return {
            name: ShapeSpec(
                self._out_feature_channels[name], stride=self._out_feature_strides[name]
            )
            for name in self._out_features
        }


@BACKBONE_REGISTRY.register()
def build_timm_backbone(cfg, input_shape: ShapeSpec) -> TimmBackbone:
    """Builds a timm model without a feature pyramid."""
    return _build_timm_model(cfg, input_shape)


@BACKBONE_REGISTRY.register()
def build_timm_fpn_backbone(cfg, input_shape: ShapeSpec) -> FPN:
    """Builds a timm model with a feature pyramid that has one level per stride.

    Detectron2 would add a level of stride 64 for objects of 512 pixels. No nucleus is that large.
    """
    bottom_up = _build_timm_model(cfg, input_shape)
    return FPN(
        bottom_up=bottom_up,
        in_features=bottom_up._out_features,
        out_channels=cfg.MODEL.FPN.OUT_CHANNELS,
        norm=cfg.MODEL.FPN.NORM,
        fuse_type=cfg.MODEL.FPN.FUSE_TYPE,
    )


def _build_timm_model(cfg, input_shape: ShapeSpec) -> TimmBackbone:
    timm_cfg = cfg.MODEL.TIMM
    return TimmBackbone(timm_cfg.NAME, list(timm_cfg.STRIDES), input_shape.channels, timm_cfg.NORM)
