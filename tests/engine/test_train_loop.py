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
    """A model of four weights; its losses are the mean of their products with a batch of rows, and
    a random number."""

    def __init__(self):
        super().__init__()
        self.weights = torch.nn.Parameter(torch.ones(4))

    def forward(self, batch):
        product = (self.weights * torch.stack(batch)).sum(dim=1).mean()
        return {"loss_product": product, "loss_random": torch.rand(()) + 0 * product}


def make_step(*batches, clip=1.0, **kwargs):
    """A step on batches of rows; SGD with learning rate 0.1 and clipping to a norm of 1."""
    cfg = small_cfg("SOLVER.OPTIMIZER", "SGD", "SOLVER.BASE_LR", 0.1, "SOLVER.WEIGHT_DECAY", 0.0)
    cfg.merge_from_list(["SOLVER.CLIP_GRADIENTS.CLIP_VALUE", clip, "SOLVER.MOMENTUM", 0.0])
    model = Linear()
    optimizer = Trainer.build_optimizer(cfg, model)
    return SeededTrainLoop(
        model, lambda start: itertools.islice(batches, start, None), optimizer, **kwargs
    )


def scaled_step(row):
    """An iteration on one row, its gradients scaled as in float16."""
    step = make_step([row])
    step.grad_scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
    with EventStorage():
        step.run_step()
    return step


def test_scaled_gradients_are_clipped_at_their_true_size():
    small = scaled_step(torch.tensor([0.01, 0, 0, 0]))  # not clipped, however it is scaled
    torch.testing.assert_close(small.model.weights.data, torch.tensor([0.999, 1, 1, 1]))
    large = scaled_step(torch.tensor([0, 5.0, 0, 0]))
    torch.testing.assert_close(large.model.weights.data, torch.tensor([1, 0.9, 1, 1]))


def test_a_step_whose_gradients_overflow_is_left_out_and_the_scale_halved():
    step = scaled_step(torch.full((4,), 3e36))  # finite, but not 1024 times as large
    torch.testing.assert_close(step.model.weights.data, torch.ones(4))
    assert step.grad_scaler.get_scale() == 512
    other = scaled_step(torch.zeros(4))
    other.load_state_dict(step.state_dict())
    assert other.grad_scaler.get_scale() == 512


def test_what_is_written():
    step = make_step([torch.tensor([3.0, 4.0, 0, 0])])
    with EventStorage() as storage:
        assert step.run_step() is False
    written = {name: value for name, (value, _) in storage.latest().items()}
    assert written["loss_product"] == pytest.approx(7)
    assert written["total_loss"] == pytest.approx(7 + written["loss_random"])
    assert written["grad_norm"] == pytest.approx(5)  # before clipping
    assert 0 <= written["data_time"] < 1


def test_a_batch_in_parts_gives_the_same_update():
    rows = list(torch.randn(6, 4, generator=torch.Generator().manual_seed(0)))
    whole, parts = make_step(rows), make_step(rows[:2], rows[2:4], rows[4:], parts=3)
    losses = []
    for step in (whole, parts):
        with EventStorage() as storage:
            step.run_step()
            losses.append(storage.latest()["loss_product"][0])
    torch.testing.assert_close(whole.model.weights, parts.model.weights)
    assert not torch.equal(whole.model.weights.data, torch.ones(4))
    np.testing.assert_allclose(*losses, rtol=1e-5)


def test_random_numbers_of_the_model_follow_from_seed_and_iteration():
    def random_losses(seed, start):
        step = make_step(*[[torch.ones(4)]] * 6, seed=seed)
        found = []
        with EventStorage() as storage:
            for step.iter in range(start, 4):
                step.run_step()
                found.append(storage.latest()["loss_random"][0])
                torch.rand(3)  # what others draw does not matter
        return found

    assert random_losses(1, 0)[2:] == random_losses(1, 2)
    assert len(set(random_losses(1, 0) + random_losses(2, 0))) == 8


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_loss_that_is_not_finite_stops_the_training_and_saves_its_batch(tmp_path, bad):
    row = torch.tensor([1.0, bad, 0, 0])
    step = make_step([row], [row], parts=2, folder=tmp_path)
    with EventStorage(), pytest.raises(FloatingPointError, match="iteration 0: .*not changed"):
        step.run_step()
    assert torch.equal(step.model.weights.data, torch.ones(4))
    saved = torch.load(tmp_path / "bad_batch_0000000_0.pth", weights_only=False)
    assert saved["iteration"] == 0
    assert len(saved["batches"]) == 2
    torch.testing.assert_close(saved["batches"][1][0], row, equal_nan=True)


def test_a_gradient_that_is_not_finite_stops_it_too(tmp_path):
    step = make_step([torch.ones(4)], folder=tmp_path)
    step.model.weights.register_hook(lambda gradient: gradient * float("nan"))
    with EventStorage(), pytest.raises(FloatingPointError, match="grad_norm nan"):
        step.run_step()
    assert torch.equal(step.model.weights.data, torch.ones(4))


@pytest.mark.parametrize(("scale", "stops"), [(2.0, False), (0.5, True)])
def test_scaled_gradients_that_stay_bad_stop_it_in_the_end(tmp_path, scale, stops):
    step = make_step([torch.ones(4)], folder=tmp_path)
    step.grad_scaler = torch.amp.GradScaler("cpu", init_scale=scale)
    step.model.weights.register_hook(lambda gradient: gradient * float("nan"))
    with EventStorage(), pytest.raises(FloatingPointError) if stops else nullcontext():
        step.run_step()
    assert torch.equal(step.model.weights.data, torch.ones(4))


def test_being_asked_to_stop_is_said_after_the_update():
    step = make_step([torch.ones(4)])
    step.stop_signal.received = 15
    with EventStorage():
        assert step.run_step() is True
    assert not torch.equal(step.model.weights.data, torch.ones(4))
