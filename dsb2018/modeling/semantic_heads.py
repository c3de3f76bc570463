"""Semantic heads for `NucleiSegmentor`: from the feature maps of any backbone to logits."""

from itertools import pairwise

import torch
from detectron2.config import configurable
from detectron2.layers import Conv2d, ShapeSpec, get_norm
from detectron2.modeling import SEM_SEG_HEADS_REGISTRY
from torch import nn
from torch.nn import functional as F

from dsb2018.modeling.dense import upsample_to
from dsb2018.modeling.unet import double_conv


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


class _ExpandingPath(nn.Module):
    """What the heads have in common that expand the coarsest feature map step by step."""

    def __init__(self, input_shape: dict[str, ShapeSpec], widths: list[int]):
        super().__init__()
        shapes = sorted(input_shape.items(), key=lambda item: -item[1].stride)
        self.in_features = [name for name, _ in shapes]  # from coarse to fine
        self.in_channels = [shape.channels for _, shape in shapes]
        if len(widths) != len(shapes):
            raise ValueError(
                f"MODEL.UNET.HEAD_WIDTHS {widths}, expected {len(shapes)}: one for each of "
                f"{self.in_features}"
            )

    @classmethod
    def from_config(cls, cfg, input_shape: dict[str, ShapeSpec]) -> dict:
        """Returns the arguments of the constructor for a config."""
        return {
            "input_shape": {name: input_shape[name] for name in cfg.MODEL.SEM_SEG_HEAD.IN_FEATURES},
            "num_classes": cfg.MODEL.SEM_SEG_HEAD.NUM_CLASSES,
            "widths": cfg.MODEL.UNET.HEAD_WIDTHS,
            "norm": cfg.MODEL.UNET.NORM,
        }


@SEM_SEG_HEADS_REGISTRY.register()
class UNetHead(_ExpandingPath):
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
        super().__init__(input_shape, widths)
        coarse, *finer = self.in_channels
        inputs = [coarse, *widths]
        self.join = nn.ModuleList(
            double_conv(channels + skip, width, norm)
            for channels, skip, width in zip(inputs, [*finer, 0], widths, strict=False)
        )
        self.predictor = nn.Conv2d(widths[-1], num_classes, 1)

    def layers(self, features: dict[str, torch.Tensor]) -> torch.Tensor:
        """Converts feature maps to (N, num_classes, h, w) logits, at twice the finest size."""
        coarse, *finer = (features[name] for name in self.in_features)
        x = coarse
        for skip, join in zip(finer, self.join, strict=False):
            x = join(torch.cat([skip, upsample_to(x, skip.shape[-2:])], dim=1))
        size = torch.Size(2 * edge for edge in x.shape[-2:])
        return self.predictor(self.join[-1](upsample_to(x, size)))


@SEM_SEG_HEADS_REGISTRY.register()
class LightHead(_ExpandingPath):
    """The expanding path of a U-Net with few operations on large maps, for processors.

    Each step reduces the channels of its input, upsamples it to the size of the next finer feature
    map, adds both and applies a single convolution. The last layer predicts the 2×2 pixels of each
    cell of the finest map at once (sub-pixel convolution, Shi et al. 2016). The losses are those of
    `NucleiSegmentor`.
    """

    @configurable
    def __init__(
        self, input_shape: dict[str, ShapeSpec], *, num_classes: int, widths: list[int], norm: str
    ):
        """
        Args:
            input_shape: channels and stride of the feature maps to use.
            num_classes: number of output channels.
            widths: number of channels of each step, from coarse to fine; one for each feature map.
            norm: see Detectron2's `get_norm`.

        Raises:
            ValueError: the number of widths is not the number of feature maps.
        """
        super().__init__(input_shape, widths)
        self.lateral = nn.ModuleList(
            nn.Conv2d(channels, width, 1)
            for channels, width in zip(self.in_channels, widths, strict=True)
        )
        self.reduce = nn.ModuleList(nn.Conv2d(coarse, fine, 1) for coarse, fine in pairwise(widths))
        self.refine = nn.ModuleList(_refinement(width, norm) for width in widths[1:])
        self.predictor = nn.Conv2d(widths[-1], 4 * num_classes, 3, padding=1)

    def layers(self, features: dict[str, torch.Tensor]) -> torch.Tensor:
        """Converts feature maps to (N, num_classes, h, w) logits, at twice the finest size."""
        laterals = [
            lateral(features[name])
            for name, lateral in zip(self.in_features, self.lateral, strict=True)
        ]
        x = F.relu(laterals[0])
        for skip, reduce, refine in zip(laterals[1:], self.reduce, self.refine, strict=True):
            x = refine(skip + upsample_to(reduce(x), skip.shape[-2:]))
        return F.pixel_shuffle(self.predictor(x), 2)


def _refinement(channels: int, norm: str) -> nn.Sequential:
    layers: list[nn.Module] = [
        nn.ReLU(),
        nn.Conv2d(channels, channels, 3, padding=1, bias=not norm),
    ]
    layers += [get_norm(norm, channels)] if norm else []
    return nn.Sequential(*layers, nn.ReLU())
