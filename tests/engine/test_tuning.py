import numpy as np
import pytest

from dsb2018.data import unregister_dsb2018
from dsb2018.data.targets import interior_map
from dsb2018.engine import Trainer, run
from dsb2018.engine.tuning import CHOICES, Maps, predict_maps, score, tune
from dsb2018.modeling.instances import InstanceOptions
from tests.configs import CONFIGS, load_cfg, small_cfg
from tests.engine.test_training import arguments
from tests.modeling.test_instances import disc


@pytest.fixture
def images():
    """Two images whose maps want other thresholds than 0.5: two nuclei, joined by a faint bridge
    and each a little too small at 0.5; and a speck of 15 pixels."""
    truth = np.zeros((1, 40, 60), np.uint8)
    truth[0][disc(18, 15, 9)], truth[0][disc(18, 38, 9)] = 1, 2
    nucleus = np.where(truth[0] > 0, 0.45, 0.1)
    nucleus[disc(18, 15, 7) | disc(18, 38, 7)] = 0.9
    nucleus[18, 20:35] = np.maximum(nucleus[18, 20:35], 0.32)
    nucleus[34:37, 50:55] = 0.9
    return [Maps(nucleus.astype(np.float16), None, truth)] * 2


def test_tuning_finds_what_fits(images):
    start = InstanceOptions("components", nucleus_thresh=0.5, min_area=1)
    options, best = tune(images, start)
    assert best == pytest.approx(100)
    assert 0.32 < options.nucleus_thresh <= 0.45
    assert options.min_area > 15
    assert best == score(images, options) > score(images, start)


def test_only_what_matters_is_tried(images, monkeypatch):
    tried = []
    monkeypatch.setattr("dsb2018.engine.tuning.score", lambda images, o: tried.append(o) or 0.0)
    tune(images, InstanceOptions("components"))
    assert {o.seed_thresh for o in tried} == {o.seed_depth for o in tried} - {1.0} | {0.5}
    tried.clear()
    interior = interior_map(images[0].truth, "distance")
    tune([Maps(images[0].nucleus, interior, images[0].truth)], InstanceOptions("watershed"))
    assert {o.seed_thresh for o in tried} == set(CHOICES["seed_thresh"])
    assert {o.seed_depth for o in tried} == {1.0}


def test_maps_of_a_dataset(registered):
    cfg = small_cfg("DATASETS.TEST", ("dsb2018_sample_val",), family="unet/unet_border")
    maps = list(predict_maps(cfg, Trainer.build_model(cfg), "dsb2018_sample_val"))
    assert len(maps) == 8
    for each in maps:
        assert each.nucleus.dtype == each.interior.dtype == np.float16
        assert each.nucleus.shape == each.interior.shape == each.truth.shape[1:]


def test_mask_rcnn_has_nothing_to_tune(registered):
    cfg = small_cfg()
    with pytest.raises(ValueError, match="NucleiRCNN finds nuclei without maps"):
        list(predict_maps(cfg, Trainer.build_model(cfg), "dsb2018_sample_val"))


def test_the_command_writes_a_config_that_gives_its_score(sample_root, tmp_path):
    import tune_instances

    run_args = arguments(sample_root, tmp_path / "run", family="unet/unet_border")
    unregister_dsb2018()
    try:
        run(run_args)
        output = tmp_path / "elsewhere" / "tuned.yaml"
        weights = str(tmp_path / "run" / "model_final.pth")
        options = ["MODEL.WEIGHTS", weights, "OUTPUT_DIR", str(tmp_path / "tune")]
        config = str(CONFIGS / "unet/unet_border.yaml")
        command = ["--config-file", config, "--data", str(sample_root), "--output", str(output)]
        assert tune_instances.main([*command, *run_args.opts, *options]) == 0
        cfg = load_cfg(output)
        assert cfg.MODEL.META_ARCHITECTURE == "UNet"
        said = float(output.read_text().splitlines()[0].split("mAP ")[1].rstrip("."))
        again = arguments(sample_root, tmp_path / "again", "--eval-only", family="unet/unet_border")
        again.config_file = str(output)
        again.opts += ["MODEL.WEIGHTS", weights]
        assert run(again)["nuclei"]["mAP"] == pytest.approx(said, abs=0.2)
    finally:
        unregister_dsb2018()
