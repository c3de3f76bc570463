"""The whole path in a minute: train, evaluate, resume, evaluate again."""

import json
import shutil

import numpy as np
import pytest
import torch
from detectron2.data import DatasetCatalog
from detectron2.utils.events import EventStorage

from dsb2018.data import NucleiMapper, unregister_dsb2018
from dsb2018.engine import Trainer, argument_parser, run
from dsb2018.engine.trainer import Step
from tests.configs import CONFIGS, FAMILIES, SMALL_INPUT, small_cfg

SMALL = ["MODEL.WEIGHTS", "", "MODEL.DEVICE", "cpu", *SMALL_INPUT, "TEST.OVERLAYS", 1]
SMALL += ["SOLVER.MAX_ITER", 4, "SOLVER.CHECKPOINT_PERIOD", 2, "SOLVER.IMS_PER_BATCH", 2]
SMALL += ["DATASETS.TRAIN", "('dsb2018_sample_train',)", "DATASETS.TEST", "('dsb2018_sample_val',)"]


def arguments(root, output, *options, family="mask_rcnn/lite0_FPN"):
    """The arguments of `tools/train_net.py` for a small run on the sample."""
    flags = [option for option in options if option.startswith("--")]
    values = [option for option in options if not option.startswith("--")]
    command = ["--config-file", str(CONFIGS / f"{family}.yaml"), "--data", str(root), *flags]
    values = ["OUTPUT_DIR", output, *SMALL, *FAMILIES[family], *values]
    return argument_parser().parse_args([*command, *map(str, values)])


@pytest.fixture(scope="module", autouse=True)
def _registered_by_the_runs():
    unregister_dsb2018()
    yield
    unregister_dsb2018()


@pytest.fixture(scope="module", params=["mask_rcnn/lite0_FPN", "unet/unet_border"])
def family(request):
    return request.param


@pytest.fixture(scope="module")
def trained(sample_root, tmp_path_factory, family):
    """Output folder and results of a run of 4 iterations."""
    output = tmp_path_factory.mktemp("run")
    results = run(arguments(sample_root, output, family=family))
    return output, results


def metrics(output):
    lines = (output / "metrics.json").read_text().splitlines()
    return [json.loads(line) for line in lines]


def test_training_writes_what_it_should(trained):
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


def test_eval_only_gives_the_same_numbers(trained, sample_root, tmp_path, family):
    output, results = trained
    options = ["--eval-only", "MODEL.WEIGHTS", str(output / "model_final.pth")]
    again = run(arguments(sample_root, tmp_path, *options, family=family))
    for task, values in results.items():
        np.testing.assert_array_equal(list(values.values()), list(again[task].values()))


def test_resume_goes_on_where_it_stopped(trained, sample_root, tmp_path, family):
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
def test_every_kind_of_model_trains(sample_root, tmp_path, other):
    results = run(arguments(sample_root, tmp_path, "SOLVER.MAX_ITER", "2", family=other))
    assert set(results) == {"bbox", "segm", "sem_seg", "nuclei"}
    assert 0 <= results["sem_seg"]["IoU"] <= 100
    assert np.isfinite(metrics(tmp_path)[0]["total_loss"])


def test_the_same_seed_gives_the_same_losses(sample_root, tmp_path):
    losses = []
    for number in range(2):
        output = tmp_path / str(number)
        run(arguments(sample_root, output, "SOLVER.MAX_ITER", "2", "DATASETS.TEST", "()"))
        losses.append([row["total_loss"] for row in metrics(output) if "total_loss" in row])
    assert losses[0]
    assert losses[0] == losses[1]


def test_unknown_key_and_unknown_optimizer(sample_root, tmp_path):
    with pytest.raises(AssertionError, match="Non-existent key: NO_SUCH.KEY"):
        run(arguments(sample_root, tmp_path, "NO_SUCH.KEY", "1"))
    with pytest.raises(ValueError, match="SOLVER.OPTIMIZER 'LION', expected SGD, ADAM or ADAMW"):
        run(arguments(sample_root, tmp_path, "SOLVER.OPTIMIZER", "LION"))


def test_data_that_were_not_prepared(tmp_path):
    unregister_dsb2018()
    try:
        with pytest.raises(FileNotFoundError, match=r"prepare_dsb2018\.py"):
            run(arguments(tmp_path / "absent", tmp_path / "out"))
    finally:
        unregister_dsb2018()


def test_a_loss_that_is_not_finite_stops_the_training(registered, tmp_path):
    cfg = small_cfg("DATASETS.TRAIN", ("dsb2018_sample_train",), "SOLVER.IMS_PER_BATCH", 1)
    cfg.OUTPUT_DIR = str(tmp_path)
    trainer = Trainer(cfg)
    with torch.no_grad():
        trainer.model.roi_heads.box_predictor.cls_score.bias.fill_(float("nan"))
    before = trainer.model.backbone.state_dict()["fpn_output2.weight"].clone()
    trainer.iter = 0
    with EventStorage(0), pytest.raises(FloatingPointError):
        trainer.run_step()
    assert torch.equal(trainer.model.backbone.state_dict()["fpn_output2.weight"], before)


def test_sgd_can_be_chosen():
    cfg = small_cfg("SOLVER.OPTIMIZER", "SGD", "SOLVER.MOMENTUM", 0.8)
    optimizer = Trainer.build_optimizer(cfg, Trainer.build_model(cfg))
    assert isinstance(optimizer, torch.optim.SGD)
    assert optimizer.param_groups[0]["momentum"] == 0.8


@pytest.mark.parametrize(
    ("each", "options"),
    [
        ("mask_rcnn/lite0_FPN", ["SOLVER.BASE_LR", 0.003]),
        ("unet/unet", ["SOLVER.BASE_LR", 0.01, "MODEL.UNET.WIDTH", 8]),
        ("unet/unet_light", ["SOLVER.BASE_LR", 0.01]),
    ],
)
def test_one_image_can_be_learned_by_heart(registered, each, options):
    torch.manual_seed(0)
    np.random.seed(0)
    options = ["SOLVER.PRECISION", "fp32", "INPUT.CROP_TRAIN", 128, *options]
    cfg = small_cfg(*options, family=each)
    item = DatasetCatalog.get("dsb2018_sample_train")[0]
    mapper = NucleiMapper(
        is_train=True,
        augmentations=[],
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
        (output,) = model([{**sample, "height": 256, "width": 256}])
    background, nucleus = output["sem_seg"]
    found, truth = nucleus > background, sample["sem_seg"] > 0
    assert (found & truth).sum() / (found | truth).sum() > 0.5
    if each != "mask_rcnn/lite0_FPN":  # it takes longer to find each of them
        count = len(sample["instances"])
        assert 0.7 * count < len(output["instances"]) < 1.3 * count


class Linear(torch.nn.Module):
    """A model of four weights; its loss is their product with what it is given."""

    def __init__(self):
        super().__init__()
        self.weights = torch.nn.Parameter(torch.ones(4))

    def forward(self, data):
        return {"loss": (self.weights * data).sum()}


def scaled_step(gradient):
    """A step in float16 arithmetic on a gradient; SGD with clipping to a norm of 1."""
    cfg = small_cfg("SOLVER.OPTIMIZER", "SGD", "SOLVER.BASE_LR", 0.1, "SOLVER.WEIGHT_DECAY", 0.0)
    cfg.merge_from_list(["SOLVER.CLIP_GRADIENTS.CLIP_VALUE", 1.0, "SOLVER.MOMENTUM", 0.0])
    model = Linear()
    optimizer = Trainer.build_optimizer(cfg, model)
    step = Step(model, [gradient], optimizer, torch.float32, "cpu")
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


@pytest.mark.gpu
@pytest.mark.parametrize("precision", ["auto", "fp32", "fp16"])
@pytest.mark.parametrize("each", FAMILIES)
def test_training_on_a_gpu(sample_root, tmp_path, each, precision):
    options = ["MODEL.DEVICE", "cuda", "SOLVER.PRECISION", precision]
    results = run(arguments(sample_root, tmp_path, *options, family=each))
    assert np.isfinite(results["sem_seg"]["IoU"])
