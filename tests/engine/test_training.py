"""Small trainings from start to end: train, evaluate, resume, and evaluate again."""

import json
import shutil

import numpy as np
import pytest
import torch
from detectron2.data import DatasetCatalog
from detectron2.data import transforms as T
from detectron2.utils.events import EventStorage

from dsb2018.checkpoint import NucleiCheckpointer
from dsb2018.commands.train import training_parser
from dsb2018.config import ConfigError
from dsb2018.data import TrainingMapper, unregister_dsb2018
from dsb2018.engine import Trainer, run
from tests.configs import CONFIGS, FAMILIES, SMALL_INPUT, small_cfg

SMALL = ["MODEL.WEIGHTS", "", "MODEL.DEVICE", "cpu", *SMALL_INPUT, "TEST.OVERLAYS", 1]
SMALL += ["SOLVER.MAX_ITER", 4, "SOLVER.CHECKPOINT_PERIOD", 2, "SOLVER.IMS_PER_BATCH", 2]
SMALL += ["DATASETS.TRAIN", "('dsb2018_sample_train',)", "DATASETS.TEST", "('dsb2018_sample_val',)"]


def arguments(root, output, *options, family="mask_rcnn/lite0_FPN"):
    """Returns the arguments of `tools/train_net.py` for a small run on the sample."""
    flags = [option for option in options if option.startswith("--")]
    values = [option for option in options if not option.startswith("--")]
    command = ["--config-file", str(CONFIGS / f"{family}.yaml"), "--data", str(root), *flags]
    values = ["OUTPUT_DIR", output, *SMALL, *FAMILIES[family], *values]
    return training_parser().parse_args([*command, *map(str, values)])


@pytest.fixture(scope="module", autouse=True)
def _unregister_datasets():
    unregister_dsb2018()
    yield
    unregister_dsb2018()


@pytest.fixture(scope="module", params=["mask_rcnn/lite0_FPN", "unet/unet_border"])
def family(request):
    return request.param


@pytest.fixture(scope="module")
def trained(sample_root, tmp_path_factory, family):
    """Trains for 4 iterations and returns the output folder and the results."""
    output = tmp_path_factory.mktemp("run")
    results = run(arguments(sample_root, output, family=family))
    return output, results


def metrics(output):
    lines = (output / "metrics.json").read_text().splitlines()
    return [json.loads(line) for line in lines]


def test_output_files(trained):
    output, results = trained
    assert {"model_0000001.pth", "model_0000003.pth", "model_final.pth", "config.yaml"} <= {
        path.name for path in output.iterdir()
    }
    assert all(np.isfinite(row["total_loss"]) for row in metrics(output) if "total_loss" in row)
    assert set(results) == {"bbox", "segm", "sem_seg", "nuclei"}
    folder = output / "inference" / "dsb2018_sample_val"
    assert len(list((folder / "overlays").glob("*.png"))) == 1
    written = json.loads((folder / "results.json").read_text())
    for task, values in results.items():
        for name, value in values.items():
            assert written[task][name] == (None if np.isnan(value) else value)
    assert "Scores on dsb2018_sample_val" in (output / "log.txt").read_text()


def test_eval_only_gives_same_scores(trained, sample_root, tmp_path, family):
    output, results = trained
    options = ["--eval-only", "MODEL.WEIGHTS", str(output / "model_final.pth")]
    (tmp_path / "config.yaml").write_text("of a model")
    eval_results = run(arguments(sample_root, tmp_path, *options, family=family))
    for task, values in results.items():
        np.testing.assert_array_equal(list(values.values()), list(eval_results[task].values()))
    assert (tmp_path / "config.yaml").read_text() == "of a model"


def test_resume_continues_from_last_checkpoint(trained, sample_root, tmp_path, family):
    output, _ = trained
    for name in ("model_0000001.pth", "metrics.json"):
        shutil.copy(output / name, tmp_path / name)
    (tmp_path / "last_checkpoint").write_text("model_0000001.pth")
    options = ["--resume", "SOLVER.MAX_ITER", "6"]
    run(arguments(sample_root, tmp_path, *options, family=family))
    log = (tmp_path / "log.txt").read_text()
    assert "Starting training from iteration 2" in log
    final = torch.load(tmp_path / "model_final.pth", weights_only=False)
    assert final["iteration"] == 5


@pytest.mark.parametrize(
    "other", sorted(set(FAMILIES) - {"mask_rcnn/lite0_FPN", "unet/unet_border"})
)
def test_all_models_train(sample_root, tmp_path, other):
    results = run(arguments(sample_root, tmp_path, "SOLVER.MAX_ITER", "2", family=other))
    assert set(results) == {"bbox", "segm", "sem_seg", "nuclei"}
    assert 0 <= results["sem_seg"]["IoU"] <= 100
    assert np.isfinite(metrics(tmp_path)[0]["total_loss"])


def losses_of(output):
    """Returns {iteration: total loss} of a run."""
    return {row["iteration"]: row["total_loss"] for row in metrics(output) if "total_loss" in row}


def test_same_seed_gives_same_losses(sample_root, tmp_path):
    losses = []
    for number in range(2):
        output = tmp_path / str(number)
        run(arguments(sample_root, output, "SOLVER.MAX_ITER", "2", "DATASETS.TEST", "()"))
        losses.append(losses_of(output))
    assert losses[0]
    assert losses[0] == losses[1]


@pytest.mark.parametrize(
    "options",
    [
        ["SOLVER.LR_SCHEDULER_NAME", "OneCycleLR", "SOLVER.EMA_DECAY", "0.9"],
        ["SOLVER.ACCUMULATION", "2", "SOLVER.OPTIMIZER", "SGD"],
    ],
)
def test_resume_is_exact(sample_root, tmp_path, options):
    """40 iterations, and 20 + 20 with a resume, give bitwise identical losses and weights."""
    options += ["DATASETS.TEST", "()", "SOLVER.WARMUP_ITERS", "5", "SOLVER.CHECKPOINT_PERIOD", "20"]
    options += ["SOLVER.IMS_PER_BATCH", "4", "SOLVER.MAX_ITER", "40"]
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    run(arguments(sample_root, whole, *options, family="unet/unet"))
    parts.mkdir()
    shutil.copy(whole / "model_0000019.pth", parts)
    (parts / "last_checkpoint").write_text("model_0000019.pth")
    resume = ["--resume", "DATALOADER.NUM_WORKERS", "1"]  # the number of workers has no effect
    run(arguments(sample_root, parts, *options, *resume, family="unet/unet"))
    assert losses_of(parts)[39] == losses_of(whole)[39]
    finals = [torch.load(folder / "model_final.pth") for folder in (whole, parts)]
    compare_states(*finals)


def compare_states(one, other):
    """Asserts that two checkpoints are identical."""
    assert type(one) is type(other)
    if isinstance(one, dict):
        assert one.keys() == other.keys()
        for key in one:
            compare_states(one[key], other[key])
    elif isinstance(one, torch.Tensor):
        assert torch.equal(one, other)
    elif isinstance(one, list):
        for pair in zip(one, other, strict=True):
            compare_states(*pair)
    else:
        assert one == other


def test_all_hooks_together(sample_root, tmp_path):
    """Periodic evaluation, validation loss, weight average, best checkpoint and early stop."""
    options = ["TEST.EVAL_PERIOD", "2", "TEST.LOSS", "True", "SOLVER.EMA_DECAY", "0.5"]
    options += ["SOLVER.MAX_ITER", "20", "SOLVER.CHECKPOINTS", "1", "TEST.PATIENCE", "1"]
    options += ["SOLVER.BASE_LR", "1e-12", "TEST.OVERLAYS", "0"]  # the model does not improve
    results = run(arguments(sample_root, tmp_path, *options, family="unet/unet"))
    log = (tmp_path / "log.txt").read_text()
    assert "Stopped early: nuclei/mAP was not better than" in log
    assert "Best nuclei/mAP:" in log
    names = {path.name for path in tmp_path.glob("*.pth")}
    assert names == {"model_0000001.pth", "model_best.pth", "model_final.pth"}
    final = torch.load(tmp_path / "model_final.pth")
    assert final["iteration"] == 3
    rows = {row["iteration"]: row for row in metrics(tmp_path)}
    assert rows[3]["nuclei/mAP"] == results["nuclei"]["mAP"]
    assert rows[3]["validation/total_loss"] > 0
    assert rows[3]["images_per_second"] > 0
    averaged = final["model"]["network.predictor.weight"]
    trained = final["trainer"]["hooks"]["WeightAverage"]["model"]["network.predictor.weight"]
    assert averaged.shape == trained.shape


def test_each_checkpoint_is_saved_once(sample_root, tmp_path, monkeypatch):
    saved = []
    monkeypatch.setattr(NucleiCheckpointer, "save", lambda _, name, **rest: saved.append(name))
    options = ["TEST.EVAL_PERIOD", "2", "TEST.BEST_METRIC", "", "DATASETS.TEST", "()"]
    run(arguments(sample_root, tmp_path, *options, family="unet/unet"))
    assert saved == ["model_0000001", "model_0000003", "model_final"]


def test_checkpoint_is_saved_if_evaluation_fails(sample_root, tmp_path, monkeypatch):
    def fail(*_):
        raise OSError("disk full")

    monkeypatch.setattr(Trainer, "test", fail)
    options = ["TEST.EVAL_PERIOD", "3", "SOLVER.CHECKPOINT_PERIOD", "100"]
    with pytest.raises(OSError, match="disk full"):
        run(arguments(sample_root, tmp_path, *options, family="unet/unet"))
    assert torch.load(tmp_path / "model_0000002.pth")["iteration"] == 2


def test_weight_average_can_be_switched_on_and_off(sample_root, tmp_path):
    options = ["DATASETS.TEST", "()", "SOLVER.CHECKPOINT_PERIOD", "2", "--resume"]
    for iterations, decay in ((2, 0.0), (4, 0.9), (6, 0.0)):
        overrides = ["SOLVER.MAX_ITER", str(iterations), "SOLVER.EMA_DECAY", str(decay)]
        run(arguments(sample_root, tmp_path, *options, *overrides, family="unet/unet"))
    first, second, third = (
        torch.load(tmp_path / f"model_000000{iteration}.pth") for iteration in (1, 3, 5)
    )
    trained = second["trainer"]["hooks"]["WeightAverage"]["model"]
    name = "network.predictor.weight"
    assert not torch.equal(second["model"][name], trained[name])
    assert not torch.equal(first["model"][name], trained[name])
    assert "WeightAverage" not in third["trainer"]["hooks"]


def test_one_cycle_schedule():
    cfg = small_cfg("SOLVER.LR_SCHEDULER_NAME", "OneCycleLR", "SOLVER.BASE_LR", 0.5)
    cfg.merge_from_list(["SOLVER.MAX_ITER", 100, "SOLVER.WARMUP_ITERS", 20])
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.5)
    scheduler = Trainer.build_lr_scheduler(cfg, optimizer)
    rates = []
    for _ in range(100):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    assert rates[0] == pytest.approx(0.5 / 25)
    assert rates[10] == pytest.approx((0.5 + 0.5 / 25) / 2)
    assert rates[20] == max(rates) == pytest.approx(0.5)
    assert rates[60] == pytest.approx(0.5 / 2, rel=0.01)
    assert rates[-1] < 0.001
    cfg.SOLVER.WARMUP_ITERS = 100
    with pytest.raises(ValueError, match="OneCycleLR with SOLVER.WARMUP_ITERS 100"):
        Trainer.build_lr_scheduler(cfg, optimizer)


def test_batch_not_divisible_by_accumulation(registered):
    cfg = small_cfg("SOLVER.ACCUMULATION", 3, "SOLVER.IMS_PER_BATCH", 4)
    cfg.DATASETS.TRAIN = ("dsb2018_sample_train",)
    with pytest.raises(ValueError, match="IMS_PER_BATCH 4, expected a multiple of SOLVER.ACC"):
        Trainer.build_train_loader(cfg)


def test_unknown_key_or_optimizer(sample_root, tmp_path):
    with pytest.raises(ConfigError, match="no config key NO_SUCH.KEY"):
        run(arguments(sample_root, tmp_path, "NO_SUCH.KEY", "1"))
    with pytest.raises(ConfigError, match="SOLVER.OPTIMIZER 'LION', expected one of 'SGD', 'ADAM'"):
        run(arguments(sample_root, tmp_path, "SOLVER.OPTIMIZER", "LION"))


def test_dataset_not_prepared(tmp_path):
    unregister_dsb2018()
    try:
        with pytest.raises(FileNotFoundError, match=r"prepare_dsb2018\.py"):
            run(arguments(tmp_path / "absent", tmp_path / "out"))
    finally:
        unregister_dsb2018()


def test_sgd():
    cfg = small_cfg("SOLVER.OPTIMIZER", "SGD", "SOLVER.MOMENTUM", 0.8)
    optimizer = Trainer.build_optimizer(cfg, Trainer.build_model(cfg))
    assert isinstance(optimizer, torch.optim.SGD)
    assert optimizer.param_groups[0]["momentum"] == 0.8


@pytest.mark.parametrize(
    ("family_name", "options"),
    [
        ("mask_rcnn/lite0_FPN", ["SOLVER.BASE_LR", 0.003]),
        ("unet/unet", ["SOLVER.BASE_LR", 0.01, "MODEL.UNET.WIDTH", 8]),
        ("unet/unet_light", ["SOLVER.BASE_LR", 0.01]),
    ],
)
def test_model_overfits_one_image(registered, family_name, options):
    torch.manual_seed(0)
    np.random.seed(0)
    options = ["SOLVER.PRECISION", "fp32", "INPUT.CROP_TRAIN", 128, *options]
    cfg = small_cfg(*options, family=family_name)
    item = DatasetCatalog.get("dsb2018_sample_train")[0]
    mapper = TrainingMapper(
        augmentations=[T.RandomCrop("absolute", (160, 160))],
        image_format="RGB",
        stretch_percent=0.1,
        separation=cfg.MODEL.DENSE.SEPARATION,
    )
    sample = mapper(item)
    model = Trainer.build_model(cfg).train()
    optimizer = Trainer.build_optimizer(cfg, model)
    losses = []
    with EventStorage():
        for _ in range(80):
            total = sum(model([sample]).values())
            optimizer.zero_grad()
            total.backward()
            optimizer.step()
            losses.append(total.item())
    assert losses[-1] < 0.5 * losses[0]
    model.eval()
    with torch.no_grad():
        (output,) = model([{**sample, "height": 160, "width": 160}])
    background, nucleus = output["sem_seg"]
    prediction, ground_truth = nucleus > background, sample["sem_seg"] > 0
    assert (prediction & ground_truth).sum() / (prediction | ground_truth).sum() > 0.5
    if family_name != "mask_rcnn/lite0_FPN":  # it needs more iterations to detect all nuclei
        count = len(sample["instances"])
        assert 0.7 * count < len(output["instances"]) < 1.3 * count


@pytest.mark.gpu
@pytest.mark.parametrize("precision", ["auto", "fp32", "fp16"])
@pytest.mark.parametrize("family_name", FAMILIES)
def test_training_on_gpu(sample_root, tmp_path, family_name, precision):
    options = ["MODEL.DEVICE", "cuda", "SOLVER.PRECISION", precision]
    results = run(arguments(sample_root, tmp_path, *options, family=family_name))
    assert np.isfinite(results["sem_seg"]["IoU"])
