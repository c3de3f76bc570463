import math

import numpy as np
import pytest
import torch

from dsb2018.modeling.losses import LOSSES, check_losses, cross_entropy_loss, dice_loss, iou_loss

CERTAIN = 30.0  # logit of a probability of 1


@pytest.mark.parametrize(
    ("logits", "target", "iou", "dice"),
    [
        # perfect, disjoint, half of the nucleus, twice the nucleus
        ([CERTAIN, -CERTAIN], [1, 0], 0, 0),
        ([-CERTAIN, CERTAIN], [1, 0], 1, 1),
        ([CERTAIN, -CERTAIN, -CERTAIN], [1, 1, 0], 1 / 2, 1 / 3),
        ([CERTAIN, CERTAIN, -CERTAIN], [1, 0, 0], 1 / 2, 1 / 3),
        # a probability of 1/2 everywhere: I = 1, U = 1/2 · 4 + 2 - 1 = 3; Dice 2 / (2 + 2)
        ([0, 0, 0, 0], [1, 1, 0, 0], 2 / 3, 1 / 2),
        # no nucleus in the target: the mean probability
        ([-CERTAIN, -CERTAIN], [0, 0], 0, 0),
        ([0, CERTAIN], [0, 0], 3 / 4, 3 / 4),
    ],
)
def test_iou_and_dice_of_small_examples(logits, target, iou, dice):
    logits, target = torch.tensor(logits), torch.tensor(target).float()
    assert iou_loss(logits, target).item() == pytest.approx(iou, abs=1e-6)
    assert dice_loss(logits, target).item() == pytest.approx(dice, abs=1e-6)


def test_cross_entropy_of_small_examples():
    logits = torch.tensor([0.0, math.log(3)])  # probabilities 1/2 and 3/4
    expected = -(math.log(1 / 2) + math.log(1 / 4)) / 2
    assert cross_entropy_loss(logits, torch.tensor([1.0, 0.0])).item() == pytest.approx(expected)
    weights = torch.tensor([1.0, 3.0])
    weighted = -(math.log(1 / 2) + 3 * math.log(1 / 4)) / 4
    loss = cross_entropy_loss(logits, torch.tensor([1.0, 0.0]), weights)
    assert loss.item() == pytest.approx(weighted)
    # A target between 0 and 1: the loss is minimal if the probability equals the target.
    soft_target = torch.tensor([0.75])
    losses = [
        cross_entropy_loss(torch.tensor([logit]), soft_target).item()
        for logit in (0.9, math.log(3), 1.3)
    ]
    assert losses[1] < min(losses[0], losses[2])


def test_iou_loss_equals_the_papers_formula():
    rng = np.random.default_rng(0)
    logits, target = rng.normal(size=500), rng.integers(0, 2, 500)
    x, y = 1 / (1 + np.exp(-logits)), target
    expected = 1 - np.sum(x * y) / np.sum(x + y - x * y)
    loss = iou_loss(torch.from_numpy(logits), torch.from_numpy(target).double())
    assert loss.item() == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("target", [[0.0, 0, 0], [1.0, 1, 1], [1.0, 0, 1]])
def test_losses_decrease_along_their_gradient(name, target):
    logits, target = torch.zeros(3, requires_grad=True), torch.tensor(target)
    before = LOSSES[name](logits, target)
    before.backward()
    assert logits.grad.abs().sum() > 0
    assert LOSSES[name](logits - 0.1 * logits.grad, target) < before


def test_unknown_names_raise():
    check_losses(["iou", "dice"])
    with pytest.raises(ValueError, match=r"\['focal'\], expected some of \['iou', 'dice'"):
        check_losses(["focal"])
    with pytest.raises(ValueError, match=r"MODEL\.DENSE\.LOSSES \[\]"):
        check_losses([])
