"""Batch normalisation over the batches of all processes."""

import torch
from detectron2.layers.batch_norm import NaiveSyncBatchNorm
from timm.layers import BatchNormAct2d, convert_sync_batchnorm
from torch import nn


class _SyncBatchNorm(NaiveSyncBatchNorm):
    """Detectron2's layer, its statistics in float32 whatever the precision of the network."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(x.float()).to(x.dtype)


class _SyncBatchNormAct(_SyncBatchNorm):
    """timm's layer, which has an activation at its end."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.act(self.drop(super().forward(x)))


_REPLACEMENTS = {nn.BatchNorm2d: _SyncBatchNorm, BatchNormAct2d: _SyncBatchNormAct}


def synchronize_batch_norm(model: nn.Module, device: str) -> nn.Module:
    """The model, its batch normalisation replaced by one whose statistics are those of all
    processes; frozen ones stay. Names and values of the weights stay too.

    Args:
        model: to be trained by several processes.
        device: as in `MODEL.DEVICE`; torch's own layer is for GPUs alone.
    """
    if torch.device(device).type == "cuda":
        return convert_sync_batchnorm(model)
    for module in model.modules():
        if type(module) in _REPLACEMENTS:
            module.__class__ = _REPLACEMENTS[type(module)]
            module._stats_mode = ""
    return model
