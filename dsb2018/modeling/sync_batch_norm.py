"""Batch normalization over the batches of all processes."""

import torch
from detectron2.layers.batch_norm import NaiveSyncBatchNorm
from torch import nn


class _SyncBatchNorm(NaiveSyncBatchNorm):
    """Detectron2's layer with statistics in float32, in any precision of the network."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(x.float()).to(x.dtype)


class _SyncBatchNormAct(_SyncBatchNorm):
    """timm's layer, which includes an activation."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.act(self.drop(super().forward(x)))


def synchronize_batch_norm(model: nn.Module, device: str) -> nn.Module:
    """Replaces batch normalization by layers that compute statistics over all processes.

    Detectron2's `FrozenBatchNorm2d` is kept. The names and values of the weights do not change.

    Args:
        model: a model that several processes train.
        device: see `MODEL.DEVICE`. torch's own synchronized layer supports GPUs only.

    Returns:
        The changed model.
    """
    from timm.layers import BatchNormAct2d, convert_sync_batchnorm  # takes a second

    if torch.device(device).type == "cuda":
        return convert_sync_batchnorm(model)
    replacements = {nn.BatchNorm2d: _SyncBatchNorm, BatchNormAct2d: _SyncBatchNormAct}
    for module in model.modules():
        if type(module) in replacements:
            module.__class__ = replacements[type(module)]
            module._stats_mode = ""
    return model
