import itertools
from contextlib import nullcontext

import numpy as np
import pytest
import torch
from detectron2.utils.events import EventStorage

from dsb2018.engine import Trainer
from dsb2018.engine.train_loop import SeededTrainLoop
from tests.configs import small_cfg


class Linear(torch.nn.Module):
    """A model with four weights.

    Its losses are the mean dot product of the weights and the rows of a batch, and a random number.
    """

    def __init__(self):
        super().__init__()
        self.weights = torch.nn.Parameter(torch.ones(4))

    def forward(self, batch):
        product = (self.weights * torch.stack(batch)).sum(dim=1).mean()
        return {"loss_product": product, "loss_random": torch.rand(()) + 0 * product}


def make_loop(*batches, clip=1.0, **kwargs):
    """Returns a train loop on batches of rows, with SGD of learning rate 0.1 and norm clipping."""
    cfg = small_cfg("SOLVER.OPTIMIZER", "SGD", "SOLVER.BASE_LR", 0.1, "SOLVER.WEIGHT_DECAY", 0.0)
    cfg.merge_from_list(["SOLVER.CLIP_GRADIENTS.CLIP_VALUE", clip, "SOLVER.MOMENTUM", 0.0])
    model = Linear()
    optimizer = Trainer.build_optimizer(cfg, model)
    return SeededTrainLoop(
        model, lambda start: itertools.islice(batches, start, None), optimizer, **kwargs
    )


def run_scaled_step(row):
    """Runs one iteration on one row, with scaled gradients as in float16, and returns the loop."""
    loop = make_loop([row])
    loop.grad_scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
    with EventStorage():
        loop.run_step()
    return loop


def test_gradients_are_clipped_without_scale():
    small = run_scaled_step(torch.tensor([0.01, 0, 0, 0]))  # only the scaled norm is above 1
    torch.testing.assert_close(small.model.weights.data, torch.tensor([0.999, 1, 1, 1]))
    large = run_scaled_step(torch.tensor([0, 5.0, 0, 0]))
    torch.testing.assert_close(large.model.weights.data, torch.tensor([1, 0.9, 1, 1]))


def test_overflow_skips_update_and_halves_scale():
    loop = run_scaled_step(torch.full((4,), 3e36))  # finite, but infinite after scaling by 1024
    torch.testing.assert_close(loop.model.weights.data, torch.ones(4))
    assert loop.grad_scaler.get_scale() == 512
    resumed = run_scaled_step(torch.zeros(4))
    resumed.load_state_dict(loop.state_dict())
    assert resumed.grad_scaler.get_scale() == 512


def test_event_storage():
    loop = make_loop([torch.tensor([3.0, 4.0, 0, 0])])
    with EventStorage() as storage:
        assert loop.run_step() is False
    written = {name: value for name, (value, _) in storage.latest().items()}
    assert written["loss_product"] == pytest.approx(7)
    assert written["total_loss"] == pytest.approx(7 + written["loss_random"])
    assert written["grad_norm"] == pytest.approx(5)  # before clipping
    assert 0 <= written["data_time"] < 1


def test_accumulation_gives_same_update():
    rows = list(torch.randn(6, 4, generator=torch.Generator().manual_seed(0)))
    whole, parts = make_loop(rows), make_loop(rows[:2], rows[2:4], rows[4:], parts=3)
    losses = []
    for loop in (whole, parts):
        with EventStorage() as storage:
            loop.run_step()
            losses.append(storage.latest()["loss_product"][0])
    torch.testing.assert_close(whole.model.weights, parts.model.weights)
    assert not torch.equal(whole.model.weights.data, torch.ones(4))
    np.testing.assert_allclose(*losses, rtol=1e-5)


def test_random_numbers_depend_only_on_seed_and_iteration():
    def random_losses(seed, start):
        loop = make_loop(*[[torch.ones(4)]] * 6, seed=seed)
        losses = []
        with EventStorage() as storage:
            for loop.iter in range(start, 4):
                loop.run_step()
                losses.append(storage.latest()["loss_random"][0])
                torch.rand(3)  # random numbers of other code have no effect
        return losses

    assert random_losses(1, 0)[2:] == random_losses(1, 2)
    assert len(set(random_losses(1, 0) + random_losses(2, 0))) == 8


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_loss_not_finite_stops_training_and_saves_batch(tmp_path, bad):
    row = torch.tensor([1.0, bad, 0, 0])
    loop = make_loop([row], [row], parts=2, folder=tmp_path)
    with EventStorage(), pytest.raises(FloatingPointError, match="iteration 0: .*not changed"):
        loop.run_step()
    assert torch.equal(loop.model.weights.data, torch.ones(4))
    saved = torch.load(tmp_path / "bad_batch_0000000_0.pth", weights_only=False)
    assert saved["iteration"] == 0
    assert len(saved["batches"]) == 2
    torch.testing.assert_close(saved["batches"][1][0], row, equal_nan=True)


def test_nan_gradient_stops_training(tmp_path):
    loop = make_loop([torch.ones(4)], folder=tmp_path)
    loop.model.weights.register_hook(lambda gradient: gradient * float("nan"))
    with EventStorage(), pytest.raises(FloatingPointError, match="grad_norm nan"):
        loop.run_step()
    assert torch.equal(loop.model.weights.data, torch.ones(4))


@pytest.mark.parametrize(("scale", "stops"), [(2.0, False), (0.5, True)])
def test_nan_gradient_stops_training_only_at_small_scale(tmp_path, scale, stops):
    loop = make_loop([torch.ones(4)], folder=tmp_path)
    loop.grad_scaler = torch.amp.GradScaler("cpu", init_scale=scale)
    loop.model.weights.register_hook(lambda gradient: gradient * float("nan"))
    with EventStorage(), pytest.raises(FloatingPointError) if stops else nullcontext():
        loop.run_step()
    assert torch.equal(loop.model.weights.data, torch.ones(4))


def test_stop_signal_is_returned_after_update():
    loop = make_loop([torch.ones(4)])
    loop.stop_signal.received = 15
    with EventStorage():
        assert loop.run_step() is True
    assert not torch.equal(loop.model.weights.data, torch.ones(4))
