import numpy as np
import pytest
import torch
import tune_instances

from dsb2018.checkpoint import NucleiCheckpointer
from dsb2018.data import unregister_dsb2018
from dsb2018.data.targets import interior_map
from dsb2018.engine import Trainer, run
from dsb2018.engine.tuning import CHOICES, TuningImage, predict_dataset, score_options, tune
from dsb2018.modeling import TrainedModel
from dsb2018.modeling.dense import DenseModel
from dsb2018.runtime.postprocess import InstanceOptions, Maps
from dsb2018.structures.ground_truth import read_label_layers
from tests.configs import CONFIGS, load_cfg, small_cfg
from tests.engine.test_training import arguments
from tests.runtime.test_postprocess import disc


@pytest.fixture
def images():
    """Two images with two nuclei each, for which a threshold of 0.5 is not the best.

    At 0.5 the nuclei are slightly too small. A bridge of low probability joins them, and there is a
    false region of 15 pixels.
    """
    ground_truth = np.zeros((1, 40, 60), np.uint8)
    ground_truth[0][disc(18, 15, 9)], ground_truth[0][disc(18, 38, 9)] = 1, 2
    nucleus = np.where(ground_truth[0] > 0, 0.45, 0.1)
    nucleus[disc(18, 15, 7) | disc(18, 38, 7)] = 0.9
    nucleus[18, 20:35] = np.maximum(nucleus[18, 20:35], 0.32)
    nucleus[34:37, 50:55] = 0.9
    return [TuningImage(Maps(nucleus.astype(np.float16), None), ground_truth)] * 2


def test_tuning_finds_best_options(images):
    start = InstanceOptions("components", nucleus_thresh=0.5, min_area=1)
    options, best = tune(images, start)
    assert best == pytest.approx(100)
    assert 0.32 < options.nucleus_thresh <= 0.45
    assert options.min_area > 15
    assert best == score_options(images, options) > score_options(images, start)


@pytest.mark.parametrize(
    ("method", "separation", "seeds", "unused"),
    [
        ("components", "none", "map", {"seed_thresh", "seed_depth"}),
        ("watershed", "none", "map", {"seed_thresh"}),
        ("watershed", "none", "distance", {"seed_thresh"}),
        ("watershed", "distance", "map", {"seed_thresh"}),
        ("watershed", "border", "distance", set()),
    ],
)
def test_only_relevant_options_are_tuned(images, monkeypatch, method, separation, seeds, unused):
    candidates = []
    monkeypatch.setattr(
        "dsb2018.engine.tuning.score_options",
        lambda images, options: candidates.append(options) or 0.0,
    )
    start = InstanceOptions(method, seeds=seeds)
    ground_truth = images[0].ground_truth
    interior = interior_map(ground_truth, separation)
    tune([TuningImage(Maps(images[0].maps.nucleus, interior), ground_truth)], start)
    for name, values in CHOICES.items():
        expected = set() if name in unused else set(values)
        tuned = {getattr(options, name) for options in candidates}
        assert tuned == expected | {getattr(start, name)}


def test_predict_dataset(registered):
    cfg = small_cfg("DATASETS.TEST", ("dsb2018_sample_val",), family="unet/unet_border")
    model = TrainedModel(cfg, Trainer.build_model(cfg))
    images = predict_dataset(cfg, model, "dsb2018_sample_val")
    assert len(images) == 8
    for maps, ground_truth in images:
        assert maps.nucleus.dtype == maps.interior.dtype == np.float16
        assert maps.nucleus.shape == maps.interior.shape == ground_truth.shape[1:]


def command(root, output, config="unet/unet_border"):
    """Returns arguments of `tools/tune_instances.py` for a small untrained model on the sample."""
    small = arguments(root, "-", family=config).opts
    config = str(CONFIGS / f"{config}.yaml")
    return ["--config-file", config, "--data", str(root), "--output", str(output), "--opts", *small]


def low_logits(self, batched_inputs):
    """Returns logits with all nuclei at a probability of 0.43, and one false region."""
    logits = []
    for sample in batched_inputs:
        ground_truth = read_label_layers(sample)
        nucleus = np.where((ground_truth > 0).any(axis=0), -0.3, -5)  # a probability of 0.43
        nucleus[:3, :5] = 5
        interior = 20 * interior_map(ground_truth, "border") - 10
        maps = np.stack([0 * nucleus, nucleus, interior]).astype(np.float32)
        logits.append(torch.from_numpy(maps))
    return logits


def test_written_config_gives_reported_score(sample_root, tmp_path, monkeypatch):
    monkeypatch.setattr(DenseModel, "logits", low_logits)
    monkeypatch.setattr(NucleiCheckpointer, "load_trained", lambda self, path, **_: None)
    output = tmp_path / "elsewhere" / "tuned.yaml"
    unregister_dsb2018()
    try:
        assert tune_instances.main(command(sample_root, output)) == 0
        reported = float(output.read_text().splitlines()[0].split("mAP ")[1].rstrip("."))
        cfg = load_cfg(output)
        assert cfg.MODEL.META_ARCHITECTURE == "UNet"
        assert cfg.MODEL.INSTANCES.NUCLEUS_THRESH < 0.43
        assert cfg.MODEL.INSTANCES.MIN_AREA > 15
        args = arguments(sample_root, tmp_path / "run", "--eval-only", family="unet/unet_border")
        args.config_file = str(output)
        scores = run(args)["nuclei"]
    finally:
        unregister_dsb2018()
    assert scores["mAP"] > 80
    assert scores["mAP"] == pytest.approx(reported, abs=0.01)


def test_mask_rcnn_cannot_be_tuned(sample_root, tmp_path, capsys, monkeypatch):
    unregister_dsb2018()
    monkeypatch.setattr(NucleiCheckpointer, "load_trained", lambda self, path, **_: None)
    try:
        args = command(sample_root, tmp_path / "tuned.yaml", "mask_rcnn/lite0_FPN")
        assert tune_instances.main(args) == 2
    finally:
        unregister_dsb2018()
    assert "error: NucleiRCNN has no probability maps" in capsys.readouterr().err
    assert not (tmp_path / "tuned.yaml").exists()
