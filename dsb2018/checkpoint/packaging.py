"""Packaged weights: safetensors files, each with a record and a config."""

from pathlib import Path

from safetensors.torch import save_file
from torch import nn


def save_packaged(model: nn.Module, path: Path) -> None:
    """Saves the weights of a model as float16 in a safetensors file, which cannot contain code."""
    state = {
        name: (tensor.half() if tensor.is_floating_point() else tensor).contiguous().cpu()
        for name, tensor in model.state_dict().items()
    }
    save_file(state, path)
