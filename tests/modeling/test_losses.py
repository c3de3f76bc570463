import math

import numpy as np
import pytest
import torch

from dsb2018.modeling.losses import LOSSES, check_losses, cross_entropy_loss, dice_loss, iou_loss

SURE = 30.0  # logit of a probability of 1


@pytest.mark.parametrize(
    ("logits", "truth", "iou", "dice"),
    [
        # perfect, disjoint, half of it found, twice too much
        ([SURE, -SURE], [1, 0], 0, 0),
        ([-SURE, SURE], [1, 0], 1, 1),
        ([SURE, -SURE, -SURE], [1, 1, 0], 1 / 2, 1 / 3),
        ([SURE, SURE, -SURE], [1, 0, 0], 1 / 2, 1 / 3),
        # a probability of 1/2 everywhere: I = 1, U = 1/2 · 4 + 2 - 1 = 3; Dice 2 / (2 + 2)
        ([0, 0, 0, 0], [1, 1, 0, 0], 2 / 3, 1 / 2),
        # no nucleus in the truth: the mean probability
        ([-SURE, -SURE], [0, 0], 0, 0),
        ([0, SURE], [0, 0], 3 / 4, 3 / 4),
    ],
)
def test_by_hand(logits, truth, iou, dice):
    logits, truth = torch.tensor(logits), torch.tensor(truth).float()
    assert iou_loss(logits, truth).item() == pytest.approx(iou, abs=1e-6)
    assert dice_loss(logits, truth).item() == pytest.approx(dice, abs=1e-6)


def test_cross_entropy_by_hand():
    logits = torch.tensor([0.0, math.log(3)])  # probabilities 1/2 and 3/4
    expected = -(math.log(1 / 2) + math.log(1 / 4)) / 2
    assert cross_entropy_loss(logits, torch.tensor([1.0, 0.0])).item() == pytest.approx(expected)
    weights = torch.tensor([1.0, 3.0])
    weighted = -(math.log(1 / 2) + 3 * math.log(1 / 4)) / 4
    found = cross_entropy_loss(logits, torch.tensor([1.0, 0.0]), weights)
    assert found.item() == pytest.approx(weighted)
    # A truth between 0 and 1: least where the probability is the truth.
    soft = torch.tensor([0.75])
    at = [cross_entropy_loss(torch.tensor([x]), soft).item() for x in (0.9, math.log(3), 1.3)]
    assert at[1] < min(at[0], at[2])


def test_the_papers_formula_on_random_numbers():
    rng = np.random.default_rng(0)
    logits, truth = rng.normal(size=500), rng.integers(0, 2, 500)
    x, y = 1 / (1 + np.exp(-logits)), truth
    expected = 1 - np.sum(x * y) / np.sum(x + y - x * y)
    found = iou_loss(torch.from_numpy(logits), torch.from_numpy(truth).double())
    assert found.item() == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("truth", [[0.0, 0, 0], [1.0, 1, 1], [1.0, 0, 1]])
def test_every_loss_falls_along_its_gradient(name, truth):
    logits, truth = torch.zeros(3, requires_grad=True), torch.tensor(truth)
    before = LOSSES[name](logits, truth)
    before.backward()
    assert logits.grad.abs().sum() > 0
    assert LOSSES[name](logits - 0.1 * logits.grad, truth) < before


def test_other_names_are_refused():
    check_losses(["iou", "dice"])
    with pytest.raises(ValueError, match=r"\['focal'\], expected some of \['iou', 'dice'"):
        check_losses(["focal"])
    with pytest.raises(ValueError, match=r"MODEL\.DENSE\.LOSSES \[\]"):
        check_losses([])
