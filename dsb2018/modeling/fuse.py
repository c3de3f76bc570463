"""Fuses batch normalization into the preceding convolutions, which makes inference faster."""

from collections.abc import Callable
from copy import deepcopy

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.utils.fusion import fuse_conv_bn_eval

Run = Callable[[nn.Module], torch.Tensor]


def fuse_batch_norm(model: nn.Module) -> nn.Module:
    """Applies `fuse_conv_bn` to `maps` of a dense model, or to the backbone of another model.

    A model that has neither is returned unchanged.
    """
    image = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0)) * 2 - 1
    if hasattr(model, "maps"):
        return fuse_conv_bn(model, lambda dense: dense.maps(image))
    if hasattr(model, "backbone"):
        return fuse_conv_bn(
            model,
            lambda rcnn: torch.cat([level.flatten() for level in rcnn.backbone(image).values()]),
        )
    return model


@torch.inference_mode(False)
@torch.no_grad()
def fuse_conv_bn(model: nn.Module, run: Run) -> nn.Module:
    """Fuses batch normalization into the preceding convolutions.

    Args:
        model: model in evaluation mode.
        run: function that calls the model, or a part of it, on an image and returns the output. The
            call shows which normalization follows which convolution.

    Returns:
        A fused copy of the model. If its output differs, for example because the output of a
        convolution is also used without normalization, the model itself.
    """
    copy = deepcopy(model)
    expected = run(copy)
    for convolution, norm in _find_pairs(copy, run):
        fused = fuse_conv_bn_eval(copy.get_submodule(convolution), copy.get_submodule(norm))
        activation = getattr(copy.get_submodule(norm), "act", None)  # part of timm's layer
        _replace(copy, convolution, fused)
        _replace(copy, norm, activation or nn.Identity())
    return copy if torch.allclose(run(copy), expected, rtol=1e-3, atol=1e-3) else model


def _find_pairs(model: nn.Module, run: Run) -> list[tuple[str, str]]:
    """Returns the names of the convolutions and of the batch normalizations that follow them."""
    outputs: dict[int, tuple[str, torch.Tensor]] = {}  # keeps the tensors, so that ids are unique
    pairs, hooks = [], []

    def after_convolution(name: str, output: torch.Tensor) -> None:
        outputs[id(output)] = name, output

    def before_norm(name: str, tensor: torch.Tensor) -> None:
        if id(tensor) in outputs:
            pairs.append((outputs[id(tensor)][0], name))

    for name, module in model.named_modules():
        if isinstance(module, nn.Conv2d):
            hook = module.register_forward_hook(
                lambda _, __, out, n=name: after_convolution(n, out)
            )
            hooks.append(hook)
        elif isinstance(module, _BatchNorm) and module.track_running_stats:
            hooks.append(
                module.register_forward_pre_hook(lambda _, x, n=name: before_norm(n, x[0]))
            )
    try:
        run(model)
    finally:
        for hook in hooks:
            hook.remove()
    names = [name for pair in pairs for name in pair]  # a module that is used twice stays unfused
    return [pair for pair in pairs if names.count(pair[0]) == names.count(pair[1]) == 1]


def _replace(model: nn.Module, name: str, module: nn.Module) -> None:
    parent, _, child = name.rpartition(".")
    setattr(model.get_submodule(parent), child, module)
