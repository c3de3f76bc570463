"""Invalid input of `train_net.py`: each error is one line and an exit status."""

import json
import re
import subprocess
import sys

import pytest
import torch

from dsb2018.checkpoint import NucleiCheckpointer
from dsb2018.commands.train import main
from dsb2018.data import unregister_dsb2018
from dsb2018.engine import Trainer
from tests.configs import CONFIGS, small_cfg
from tests.engine.test_training import arguments
from tests.io.test_locking import HOLD


def train_net(root, output, *options, family="unet/unet"):
    """Runs `tools/train_net.py` on the sample with a small config and returns the exit status."""
    args = arguments(root, output, family=family)
    flags = [option for option in options if option.startswith("--")]
    values = [option for option in options if not option.startswith("--")]
    unregister_dsb2018()
    try:
        return main(
            ["--config-file", args.config_file, "--data", str(root), *flags, *args.opts, *values]
        )
    finally:
        unregister_dsb2018()


@pytest.mark.parametrize(
    ("options", "status", "message"),
    [
        (["--eval-only"], 2, "MODEL.WEIGHTS is empty"),
        (["--eval-only", "MODEL.WEIGHTS", "dsb2018://unet_light"], 1, "weights do not fit"),
        (["--eval-only", "MODEL.WEIGHTS", "none.pth"], 2, "none.pth: no such checkpoint"),
        (["MODEL.META_ARCHITECTURE", "YNet"], 2, "'YNet', expected one of .*UNet"),
        (["MODEL.BACKBONE.NAME", "build_x"], 2, "MODEL.BACKBONE.NAME 'build_x', expected one of"),
        (["MODEL.DEVICE", "abacus"], 2, "MODEL.DEVICE 'abacus', expected cpu, cuda, or one GPU"),
        (["NO.KEY", "1"], 2, "there is no config key NO.KEY"),
        (["SOLVER.MAX_ITER"], 2, "expected pairs; 'SOLVER.MAX_ITER' has no partner"),
        (["DATASETS.TRAIN", "('dsb2018_none',)"], 2, "dsb2018_none.*is not registered"),
        (["SOLVER.IMS_PER_BATCH", "3", "SOLVER.ACCUMULATION", "2"], 2, "expected a multiple of"),
        (["INPUT.STRETCH_PERCENT", "60"], 2, "INPUT.STRETCH_PERCENT 60.0, expected"),
    ],
)
def test_invalid_arguments(sample_root, tmp_path, capfd, options, status, message):
    assert train_net(sample_root, tmp_path / "out", *options) == status
    error = capfd.readouterr().err
    assert "Traceback" not in error
    lines = [line for line in error.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1
    assert re.search(message, lines[0])


def test_output_is_a_file(sample_root, tmp_path, capfd):
    (tmp_path / "out").touch()
    assert train_net(sample_root, tmp_path / "out") == 2
    assert "out: not a folder" in capfd.readouterr().err


def test_the_config_of_a_model_is_kept(sample_root, tmp_path, capfd):
    """By a training that does not begin, and by an evaluation."""
    (tmp_path / "config.yaml").write_text("earlier")
    options = ["MODEL.WEIGHTS", "none.pth"]
    assert train_net(sample_root, tmp_path, *options) == 2
    assert (tmp_path / "config.yaml").read_text() == "earlier"
    assert train_net(sample_root, tmp_path, "--eval-only", *options) == 2
    assert (tmp_path / "config.yaml").read_text() == "earlier"
    assert "none.pth: no such checkpoint" in capfd.readouterr().err


def test_config_is_needed(capfd):
    assert main([]) == 2
    assert "--config-file is needed" in capfd.readouterr().err


def test_inconsistent_dataset(sample_root, tmp_path, capfd):
    path = tmp_path / "root" / "annotations" / "dsb2018_sample_train.json"
    path.parent.mkdir(parents=True)
    coco = json.loads((sample_root / "annotations" / path.name).read_text())
    coco["annotations"][0]["image_id"] = 999
    path.write_text(json.dumps(coco))
    assert train_net(tmp_path / "root", tmp_path / "out") == 1
    assert "has image_id 999, expected the id of an image" in capfd.readouterr().err
    assert "Traceback" in (tmp_path / "out" / "log.txt").read_text()


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_not_finite(tmp_path, value):
    model = Trainer.build_model(small_cfg(family="unet/unet"))
    state = {name: values.clone() for name, values in model.state_dict().items()}
    name = next(name for name, values in state.items() if values.is_floating_point())
    state[name][...] = value
    torch.save({"model": state}, tmp_path / "bad.pth")
    with pytest.raises(ValueError, match=rf"bad\.pth: {name} has values that are NaN"):
        NucleiCheckpointer(model).load_trained(str(tmp_path / "bad.pth"))


def test_second_training_in_same_folder(sample_root, tmp_path, capfd):
    command = [sys.executable, "-c", HOLD, str(tmp_path / "out")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as holder:
        try:
            assert holder.stdout.readline() == "held\n"
            assert train_net(sample_root, tmp_path / "out") == 2
        finally:
            holder.kill()
    assert f"another training (process {holder.pid} on" in capfd.readouterr().err


@pytest.mark.parametrize("config", sorted(path.name for path in CONFIGS.glob("Base-*.yaml")))
def test_configs_contain_no_code(config):
    assert "!!python" not in (CONFIGS / config).read_text()
