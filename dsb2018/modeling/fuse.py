"""Fuses batch normalisation into the convolutions before it, which makes inference faster."""

from collections.abc import Callable
from copy import deepcopy

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.utils.fusion import fuse_conv_bn_eval

Run = Callable[[nn.Module], torch.Tensor]


def fuse_batch_norm(model: nn.Module) -> nn.Module:
    """`fuse_conv_bn` of the part of a model that sees the image first: the maps of a dense model,
    or the backbone. A model that has neither is returned as it is."""
    image = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0)) * 2 - 1
    if hasattr(model, "maps"):
        return fuse_conv_bn(model, lambda it: it.maps(image))
    if hasattr(model, "backbone"):
        return fuse_conv_bn(
            model,
            lambda it: torch.cat([feature.flatten() for feature in it.backbone(image).values()]),
        )
    return model


@torch.inference_mode(False)
@torch.no_grad()
def fuse_conv_bn(model: nn.Module, run: Run) -> nn.Module:
    """A model that gives the same and computes less.

    Args:
        model: in evaluation mode.
        run: calls it, or the part of it that is to be folded, on some image and gives the output;
            this shows which normalisation follows which convolution.

    Returns:
        A copy of the model, folded; the model itself where the copy would give something else, as
        when a convolution's output is also used without normalisation.
    """
    copy = deepcopy(model)
    expected = run(copy)
    for convolution, norm in _find_pairs(copy, run):
        fused = fuse_conv_bn_eval(copy.get_submodule(convolution), copy.get_submodule(norm))
        activation = getattr(copy.get_submodule(norm), "act", None)  # timm has both in one module
        _replace(copy, convolution, fused)
        _replace(copy, norm, activation or nn.Identity())
    return copy if torch.allclose(run(copy), expected, rtol=1e-3, atol=1e-3) else model


def _find_pairs(model: nn.Module, run: Run) -> list[tuple[str, str]]:
    """Names of convolutions and of the batch normalisations that take their outputs."""
    outputs: dict[int, tuple[str, torch.Tensor]] = {}  # which are kept, so that no id comes twice
    pairs, hooks = [], []

    def after_convolution(name: str, output: torch.Tensor) -> None:
        outputs[id(output)] = name, output

    def before_norm(name: str, taken: torch.Tensor) -> None:
        if id(taken) in outputs:
            pairs.append((outputs[id(taken)][0], name))

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
    often = [name for pair in pairs for name in pair]  # a shared module is left as it is
    return [pair for pair in pairs if often.count(pair[0]) == often.count(pair[1]) == 1]


def _replace(model: nn.Module, name: str, module: nn.Module) -> None:
    parent, _, child = name.rpartition(".")
    setattr(model.get_submodule(parent), child, module)
