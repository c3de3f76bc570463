import math
from types import SimpleNamespace

import pytest
import torch
from detectron2.utils.events import EventStorage

from dsb2018.engine import hooks
from dsb2018.engine.hooks import BestCheckpoint, EarlyStop, OldCheckpoints, Usage, WeightAverage


def test_weight_average_matches_hand_computation():
    model = torch.nn.BatchNorm1d(1)
    average = WeightAverage(model, 0.5)
    expected, means = None, None
    for count, value in enumerate([4.0, 8.0, 2.0, 6.0, 1.0, 3.0, 5.0, 7.0, 9.0, 0.0]):
        torch.nn.init.constant_(model.weight, value)
        model.running_mean.fill_(-value)
        model.num_batches_tracked.fill_(count)
        average.after_step()
        decay = min(0.5, (1 + count) / (10 + count)) if count else 0  # the first update copies
        expected = decay * (expected or 0) + (1 - decay) * value
        means = decay * (means or 0) - (1 - decay) * value
        assert average.model.weight.item() == pytest.approx(expected)
        assert average.model.running_mean.item() == pytest.approx(means)
        assert average.model.num_batches_tracked.item() == count
    assert model.weight.item() == 0  # the trained weights are unchanged


def test_weight_average_resumes_from_checkpoint():
    def run(average, model, values):
        for value in values:
            torch.nn.init.constant_(model.weight, value)
            average.after_step()

    models = [torch.nn.Linear(1, 1, bias=False) for _ in range(2)]
    averages = [WeightAverage(model, 0.9) for model in models]
    run(averages[0], models[0], [1.0, 2.0, 3.0])
    averages[1].load_state_dict(averages[0].state_dict())
    averages[1].model.load_state_dict(averages[0].model.state_dict())  # as the checkpointer does
    assert models[1].weight.item() == 3
    for average, model in zip(averages, models, strict=True):
        run(average, model, [5.0, 7.0])
    assert averages[0].model.weight.item() == averages[1].model.weight.item()


@pytest.mark.parametrize("decay", [-0.1, 1.0])
def test_decay_out_of_range(decay):
    with pytest.raises(ValueError, match="SOLVER.EMA_DECAY"):
        WeightAverage(torch.nn.Linear(1, 1), decay)


def test_usage():
    hook = Usage(batch_size=8)
    with EventStorage() as storage:
        hook.trainer = SimpleNamespace(storage=storage)
        hook.after_step()
        assert "images_per_second" not in storage.latest()
        storage.put_scalar("time", 0.5)
        hook.after_step()
        assert storage.latest()["images_per_second"][0] == 16
        assert 0.05 < storage.latest()["memory_gb"][0] < 100


def test_old_checkpoints_are_deleted(tmp_path):
    names = ["model_0000009.pth", "model_0000019.pth", "model_0000100.pth", "model_best.pth"]
    for name in [*names, "model_final.pth", "model_0000005.json"]:
        (tmp_path / name).touch()
    hook = OldCheckpoints(tmp_path, period=10, kept=2)
    for iteration in (8, 9):
        hook.trainer = SimpleNamespace(iter=iteration + 100)
        hook.after_step()
        assert (tmp_path / names[0]).exists() == (iteration == 8)
    assert {path.name for path in tmp_path.iterdir()} == {
        *(*names[1:], "model_final.pth", "model_0000005.json")
    }
    keeps_all = OldCheckpoints(tmp_path, period=10, kept=0)
    keeps_all.trainer = SimpleNamespace(iter=9)
    keeps_all.after_step()
    assert (tmp_path / names[1]).exists()


def run_best_checkpoint(folder, metric, values, patience=0):
    """Runs a `BestCheckpoint` with an evaluation every second iteration.

    Returns the hook and the iterations at which it saved.
    """
    saved = []
    hook = BestCheckpoint(lambda name: saved.append(trainer.iter), folder, metric, 2, patience)
    with EventStorage() as storage:
        end = 2 * len(values)
        hook.trainer = trainer = SimpleNamespace(storage=storage, iter=0, max_iter=end)
        for trainer.iter in range(end):
            storage.iter = trainer.iter
            if trainer.iter % 2 and trainer.iter + 1 < end:
                storage.put_scalar(metric, values[trainer.iter // 2], smoothing_hint=False)
            hook.after_step()
        storage.iter = trainer.iter = end
        storage.put_scalar(metric, values[-1], smoothing_hint=False)
        hook.after_train()
    return hook, saved


def test_best_checkpoint_is_saved(tmp_path):
    hook, saved = run_best_checkpoint(tmp_path, "nuclei/mAP", [math.nan, 10, 30, 20, math.nan, 40])
    assert saved == [3, 5, 12]
    assert (hook.best, hook.best_iteration) == (40, 12)
    same_metric, _ = run_best_checkpoint(tmp_path, "nuclei/mAP", [1])
    same_metric.load_state_dict(hook.state_dict())
    assert (same_metric.best, same_metric.best_iteration) == (40, 12)
    other_metric, _ = run_best_checkpoint(tmp_path, "segm/AP", [1])
    other_metric.load_state_dict(hook.state_dict())
    assert other_metric.best == 1


@pytest.mark.parametrize(("start_iter", "best"), [(0, None), (4, 70)])
def test_resumed_training_reads_model_best(tmp_path, start_iter, best):
    state = {"metric": "nuclei/mAP", "best": 70.0, "iteration": 3, "failures": 0}
    torch.save({"trainer": {"hooks": {"BestCheckpoint": state}}}, tmp_path / "model_best.pth")
    resumed = BestCheckpoint(pytest.fail, tmp_path, "nuclei/mAP", 2, 0)
    resumed.trainer = SimpleNamespace(start_iter=start_iter)
    resumed.before_train()
    assert resumed.best == best


def test_interrupted_evaluation_does_not_count(tmp_path, caplog):
    hook = BestCheckpoint(lambda name: None, tmp_path, "nuclei/mAP", 1, 1)
    with EventStorage() as storage:
        hook.trainer = SimpleNamespace(storage=storage, iter=0, max_iter=9)
        storage.put_scalar("nuclei/mAP", 5, smoothing_hint=False)
        hook.after_step()
        storage.iter = hook.trainer.iter = 1
        hook.after_step()  # raises EarlyStop if the missing evaluation counts
    assert not caplog.text


@pytest.mark.parametrize("metric", ["validation/total_loss", "nuclei/count_error"])
def test_lowest_loss_or_error_is_best(tmp_path, metric):
    assert run_best_checkpoint(tmp_path, metric, [3, 1, 2])[1] == [1, 3]


def test_early_stop_without_improvement(tmp_path):
    with pytest.raises(EarlyStop, match=r"not better than 30.00 \(iteration 3\) in 2 evaluations"):
        run_best_checkpoint(tmp_path, "nuclei/mAP", [10, 30, 20, 30, 90], patience=2)
    _, saved = run_best_checkpoint(tmp_path, "nuclei/mAP", [10, 30, 20, 40, 20], patience=2)
    assert saved == [1, 3, 7]
    assert not issubclass(EarlyStop, Exception)


def test_warning_if_best_metric_is_not_measured(tmp_path, caplog):
    hook = BestCheckpoint(pytest.fail, tmp_path, "nuclei/map", 1, 0)
    with EventStorage() as storage:
        storage.put_scalar("nuclei/mAP", 1)
        hook.trainer = SimpleNamespace(storage=storage, iter=0, max_iter=2)
        hook.after_step()
    assert "nuclei/map was not measured, expected one of ['nuclei/mAP']" in caplog.text


def test_progress_bar(monkeypatch, capsys):
    monkeypatch.setattr(hooks.sys.stderr, "isatty", lambda: True, raising=False)
    assert hooks.ProgressBar.wanted()
    bar = hooks.ProgressBar()
    with EventStorage() as storage:
        bar.trainer = SimpleNamespace(storage=storage, start_iter=2, max_iter=5)
        bar.before_train()
        for _ in range(3):
            storage.put_scalar("total_loss", 0.25)
            bar.after_step()
        bar.after_train()
    shown = capsys.readouterr().err
    assert "2/5" in shown
    assert "5/5" in shown
    assert "loss 0.25" in shown
