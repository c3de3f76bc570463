"""Losses of dense models: how far a map of probabilities is from the truth.

Shapes: P pixels of a batch that count, all images together; padding is left out before.
"""

from collections.abc import Callable

import torch
from detectron2.utils import comm
from fvcore.nn.distributed import differentiable_all_reduce
from torch.nn import functional as F


def _total(*sums: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """Sums over the batches of all processes that train together, so that several learn the same
    as one that has all their images."""
    if torch.is_grad_enabled() and comm.get_world_size() > 1:
        return differentiable_all_reduce(torch.stack(sums)).unbind()
    return sums


def iou_loss(logits: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
    """The paper's loss, 1 - I / U on probabilities.

    With x the probabilities and y the truth, I = Σ x·y and U = Σ (x + y - x·y). Without a nucleus
    in the truth I / U is 0 whatever x is; then the loss is the mean probability.

    Args:
        logits: (P,) float, of nucleus against background.
        truth: (P,) float, 1 in nuclei and 0 outside.

    Returns:
        A number from 0 (perfect) to 1.
    """
    both, found, true, pixels = _overlap(logits, truth)
    return 1 - both / (found + true - both) if true else found / pixels


def dice_loss(logits: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
    """1 - 2 Σ x·y / Σ (x + y); arguments, range and the case without nuclei as in `iou_loss`."""
    both, found, true, pixels = _overlap(logits, truth)
    return 1 - 2 * both / (found + true) if true else found / pixels


def _overlap(logits: torch.Tensor, truth: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """Σ x·y, Σ x, Σ y and the number of pixels."""
    x = logits.sigmoid()
    return _total((x * truth).sum(), x.sum(), truth.sum(), x.new_tensor(float(x.numel())))


def cross_entropy_loss(
    logits: torch.Tensor, truth: torch.Tensor, weights: torch.Tensor | None = None
) -> torch.Tensor:
    """Mean over pixels of -log of the probability of the truth; arguments as in `iou_loss`, but
    the truth may lie between 0 and 1.

    Args:
        logits, truth: see above.
        weights: (P,) float, 0 or more: how much each pixel counts; None: all alike.
    """
    weights = torch.ones_like(truth) if weights is None else weights
    loss = F.binary_cross_entropy_with_logits(logits, truth, weights, reduction="sum")
    loss, total = _total(loss, weights.sum())
    return loss / total


LOSSES: dict[str, Callable[[torch.Tensor, torch.Tensor], torch.Tensor]] = {
    "iou": iou_loss,
    "dice": dice_loss,
    "cross_entropy": cross_entropy_loss,
}


def check_losses(names: list[str]) -> None:
    """
    Raises:
        ValueError: no name, or one that is not in `LOSSES`.
    """
    unknown = [name for name in names if name not in LOSSES]
    if unknown or not names:
        raise ValueError(f"MODEL.DENSE.LOSSES {names}, expected some of {list(LOSSES)}")
