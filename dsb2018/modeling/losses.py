"""Losses of dense models.

Shapes: P is the number of pixels of all images of a batch, without padding.
"""

from collections.abc import Callable

import torch
from detectron2.utils import comm
from fvcore.nn.distributed import differentiable_all_reduce
from torch.nn import functional as F


def _sum_over_processes(*sums: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """Adds up sums over all training processes, so that their number does not change the loss."""
    if torch.is_grad_enabled() and comm.get_world_size() > 1:
        return differentiable_all_reduce(torch.stack(sums)).unbind()
    return sums


def iou_loss(logits: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Returns the paper's loss, 1 - I / U.

    With probabilities x and target y, I = Σ x·y and U = Σ (x + y - x·y). If the target has no
    nucleus, I / U is 0 for every x. In this case the loss is the mean probability.

    Args:
        logits: (P,) float, nucleus against background.
        target: (P,) float, 1 in nuclei and 0 outside.

    Returns:
        A scalar from 0 (perfect) to 1.
    """
    intersection, predicted, true, pixels = _overlap_sums(logits, target)
    loss = 1 - intersection / (predicted + true - intersection)
    return torch.where(true > 0, loss, predicted / pixels)  # an `if` would wait for the GPU


def dice_loss(logits: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Returns 1 - 2 Σ x·y / Σ (x + y), or the mean probability if the target has no nucleus.

    See `iou_loss` for the arguments and the range.
    """
    intersection, predicted, true, pixels = _overlap_sums(logits, target)
    return torch.where(true > 0, 1 - 2 * intersection / (predicted + true), predicted / pixels)


def _overlap_sums(logits: torch.Tensor, target: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """Returns Σ x·y, Σ x, Σ y and the number of pixels."""
    x = logits.sigmoid()
    pixels = x.new_tensor(float(x.numel()))
    return _sum_over_processes((x * target).sum(), x.sum(), target.sum(), pixels)


def cross_entropy_loss(
    logits: torch.Tensor, target: torch.Tensor, weights: torch.Tensor | None = None
) -> torch.Tensor:
    """Returns the weighted mean over pixels of the binary cross-entropy; 0 if all weights are 0.

    Args:
        logits: (P,) float, nucleus against background.
        target: (P,) float, 0 to 1.
        weights: (P,) float, weight of each pixel, 0 or more; None: equal weights.
    """
    weights = torch.ones_like(target) if weights is None else weights
    loss = F.binary_cross_entropy_with_logits(logits, target, weights, reduction="sum")
    loss, total = _sum_over_processes(loss, weights.sum())
    return loss / torch.where(total > 0, total, 1)


def offset_loss(offsets: torch.Tensor, target: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """Returns the weighted mean over pixels of the smooth L1 loss; 0 if all weights are 0.

    Args:
        offsets: (P,) float, one coordinate of the predicted vectors.
        target: (P,) float, the same coordinate of the true vectors.
        weights: (P,) float, weight of each pixel, 0 or more.
    """
    loss = F.smooth_l1_loss(offsets, target, reduction="none", beta=0.125)
    loss, total = _sum_over_processes((loss * weights).sum(), weights.sum())
    return loss / torch.where(total > 0, total, 1)


LOSSES: dict[str, Callable[[torch.Tensor, torch.Tensor], torch.Tensor]] = {
    "iou": iou_loss,
    "dice": dice_loss,
    "cross_entropy": cross_entropy_loss,
}


def check_losses(names: list[str]) -> None:
    """Checks the names of losses.

    Raises:
        ValueError: no names, or a name that is not in `LOSSES`.
    """
    unknown = [name for name in names if name not in LOSSES]
    if unknown or not names:
        raise ValueError(f"MODEL.DENSE.LOSSES {names}, expected some of {list(LOSSES)}")
