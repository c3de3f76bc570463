"""A dense model with a backbone and a semantic head, as Detectron2's `SemanticSegmentor`."""

import torch
from detectron2.config import configurable
from detectron2.layers import Conv2d, ShapeSpec
from detectron2.modeling import META_ARCH_REGISTRY, SEM_SEG_HEADS_REGISTRY, Backbone, build_backbone
from detectron2.modeling.meta_arch.semantic_seg import build_sem_seg_head
from torch import nn

from dsb2018.modeling.dense import DenseModel, count_maps, upsample_to
from dsb2018.modeling.light_head import check_widths
from dsb2018.modeling.unet import double_conv


@META_ARCH_REGISTRY.register()
class NucleiSegmentor(DenseModel):
    """Detectron2's backbones and semantic heads with the losses and nuclei of `DenseModel`.

    The modules have the same names as in Detectron2's `SemanticSegmentor` and `PanopticFPN`.
    Weights of its model zoo can therefore be loaded, except for the last layer, which has other
    classes.
    """

    @configurable
    def __init__(self, *, backbone: Backbone, sem_seg_head: nn.Module, **kwargs):
        """
        Args:
            backbone: see `build_backbone`.
            sem_seg_head: a module whose method `layers` converts feature maps to logits of any
                stride; see `SemSegFPNHead`, `FCNHead` and `UNetHead`.
            **kwargs: see `DenseModel`.
        """
        super().__init__(**kwargs)
        self.backbone, self.sem_seg_head = backbone, sem_seg_head
        if self.channels_last:
            self.to(memory_format=torch.channels_last)

    @classmethod
    def from_config(cls, cfg) -> dict:
        """Returns the arguments of the constructor for a config."""
        backbone = build_backbone(cfg)
        cfg = cfg.clone()
        cfg.defrost()
        cfg.MODEL.SEM_SEG_HEAD.NUM_CLASSES = count_maps(cfg.MODEL.DENSE.SEPARATION)
        return {
            **super().from_config(cfg),
            "backbone": backbone,
            "sem_seg_head": build_sem_seg_head(cfg, backbone.output_shape()),
        }

    @property
    def size_divisibility(self) -> int:
        """Height and width of the input are padded to multiples of this number of pixels."""
        strides = [shape.stride for shape in self.backbone.output_shape().values()]
        return self.backbone.size_divisibility or max(strides)

    def maps(self, images: torch.Tensor) -> torch.Tensor:
        """See `DenseModel.maps`."""
        logits = self.sem_seg_head.layers(self.backbone(images))
        return upsample_to(logits.float(), images.shape[-2:])  # float32 even under autocast


@SEM_SEG_HEADS_REGISTRY.register()
class FCNHead(nn.Module):
    """The head of the FCN of Long et al. (2015), for `NucleiSegmentor`.

    A 1×1 convolution computes logits of each feature map. Coarse logits are upsampled and added to
    finer ones. The losses are those of `NucleiSegmentor`.
    """

    @configurable
    def __init__(self, input_shape: dict[str, ShapeSpec], *, num_classes: int):
        """
        Args:
            input_shape: channels and stride of the feature maps to use.
            num_classes: number of output channels.
        """
        super().__init__()
        shapes = sorted(input_shape.items(), key=lambda item: -item[1].stride)
        self.in_features = [name for name, _ in shapes]  # from coarse to fine
        self.scores = nn.ModuleDict(
            {name: Conv2d(shape.channels, num_classes, 1) for name, shape in shapes}
        )

    @classmethod
    def from_config(cls, cfg, input_shape: dict[str, ShapeSpec]) -> dict:
        """Returns the arguments of the constructor for a config."""
        return {
            "input_shape": {name: input_shape[name] for name in cfg.MODEL.SEM_SEG_HEAD.IN_FEATURES},
            "num_classes": cfg.MODEL.SEM_SEG_HEAD.NUM_CLASSES,
        }

    def layers(self, features: dict[str, torch.Tensor]) -> torch.Tensor:
        """Converts feature maps to (N, num_classes, h, w) logits, at the size of the finest map."""
        total = None
        for name in self.in_features:
            score = self.scores[name](features[name])
            total = score if total is None else score + upsample_to(total, score.shape[-2:])
        return total


@SEM_SEG_HEADS_REGISTRY.register()
class UNetHead(nn.Module):
    """The expanding path of a U-Net on the feature maps of any backbone, for `NucleiSegmentor`.

    Each step upsamples its input to the size of the next finer feature map, concatenates both and
    applies two convolutions. The last step doubles the size of the finest map. The losses are those
    of `NucleiSegmentor`.
    """

    @configurable
    def __init__(
        self, input_shape: dict[str, ShapeSpec], *, num_classes: int, widths: list[int], norm: str
    ):
        """
        Args:
            input_shape: channels and stride of the feature maps to use.
            num_classes: number of output channels.
            widths: number of channels of each step, from coarse to fine; one step per feature map.
            norm: see Detectron2's `get_norm`.

        Raises:
            ValueError: the number of widths is not the number of feature maps.
        """
        super().__init__()
        shapes = sorted(input_shape.items(), key=lambda item: -item[1].stride)
        check_widths(widths, [name for name, _ in shapes])
        self.in_features = [name for name, _ in shapes]  # from coarse to fine
        coarse, *finer = (shape.channels for _, shape in shapes)
        inputs = [coarse, *widths]
        self.join = nn.ModuleList(
            double_conv(channels + skip, width, norm)
            for channels, skip, width in zip(inputs, [*finer, 0], widths, strict=False)
        )
        self.predictor = nn.Conv2d(widths[-1], num_classes, 1)

    @classmethod
    def from_config(cls, cfg, input_shape: dict[str, ShapeSpec]) -> dict:
        """Returns the arguments of the constructor for a config."""
        return {
            "input_shape": {name: input_shape[name] for name in cfg.MODEL.SEM_SEG_HEAD.IN_FEATURES},
            "num_classes": cfg.MODEL.SEM_SEG_HEAD.NUM_CLASSES,
            "widths": cfg.MODEL.UNET.HEAD_WIDTHS,
            "norm": cfg.MODEL.UNET.NORM,
        }

    def layers(self, features: dict[str, torch.Tensor]) -> torch.Tensor:
        """Converts feature maps to (N, num_classes, h, w) logits, at twice the finest size."""
        coarse, *finer = (features[name] for name in self.in_features)
        x = coarse
        for skip, join in zip(finer, self.join, strict=False):
            x = join(torch.cat([skip, upsample_to(x, skip.shape[-2:])], dim=1))
        size = torch.Size(2 * edge for edge in x.shape[-2:])
        return self.predictor(self.join[-1](upsample_to(x, size)))
