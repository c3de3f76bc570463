"""Losses of dense models: how far a map of probabilities is from the truth.

Shapes: P pixels of a batch that count, all images together; padding is left out before.
"""

from collections.abc import Callable

import torch
from torch.nn import functional as F


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
    x = logits.sigmoid()
    if not truth.any():
        return x.mean()
    intersection = (x * truth).sum()
    return 1 - intersection / (x.sum() + truth.sum() - intersection)


def dice_loss(logits: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
    """1 - 2 Σ x·y / Σ (x + y); arguments, range and the case without nuclei as in `iou_loss`."""
    x = logits.sigmoid()
    if not truth.any():
        return x.mean()
    return 1 - 2 * (x * truth).sum() / (x.sum() + truth.sum())


def cross_entropy_loss(logits: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
    """Mean over pixels of -log of the probability of the truth; arguments as in `iou_loss`, but
    the truth may lie between 0 and 1."""
    return F.binary_cross_entropy_with_logits(logits, truth)


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
