"""Tests that run the command-line tools."""

import importlib
import json
import os
import subprocess
import sys

import package_weights
import prepare_dsb2018
import pytest
from safetensors.torch import load_file

from dsb2018.checkpoint import NucleiCheckpointer
from dsb2018.engine import Trainer
from tests.configs import CONFIGS, load_cfg
from tests.conftest import rectangle


def run(project, *arguments, **env):
    return subprocess.run(
        [sys.executable, "-W", "ignore", *arguments],
        cwd=project,
        capture_output=True,
        text=True,
        env={**os.environ, **env},
    )


@pytest.mark.parametrize("tool", sorted(p.stem for p in (CONFIGS.parent / "tools").glob("*.py")))
def test_help(tool, capsys):
    with pytest.raises(SystemExit) as end:
        importlib.import_module(tool).main(["--help"])
    assert end.value.code == 0
    printed = capsys.readouterr().out
    assert "usage" in printed
    assert "python tools/" in printed or "    dsb2018 " in printed


def test_tool_is_a_program(project):
    result = run(project, "tools/train_net.py", "--help")
    assert result.returncode == 0, result.stderr
    assert "dsb2018 train" in result.stdout


def test_prepare_folder(dsb, tmp_path, capsys):
    for number in range(10):
        dsb.add(f"i{number}", [rectangle(1, 1, 5, 5)])
    output = tmp_path / "out put"
    assert prepare_dsb2018.main(["--input", str(dsb.root), "--output", str(output), "--quiet"]) == 0
    printed = capsys.readouterr().out
    assert "dsb2018_train: 9 images, 9 nuclei" in printed
    assert "dsb2018_val: 1 images, 1 nuclei" in printed
    assert (output / "annotations" / "dsb2018_val.json").exists()


def test_prepare_in_default_folder(dsb, tmp_path, monkeypatch):
    dsb.add("a", [rectangle(1, 1, 5, 5)])
    monkeypatch.setenv("DETECTRON2_DATASETS", str(tmp_path / "all"))
    assert prepare_dsb2018.main(["--input", str(dsb.root), "--name", "mine", "--quiet"]) == 0
    assert (tmp_path / "all" / "dsb2018" / "annotations" / "dsb2018_mine.json").exists()


@pytest.mark.parametrize(
    "arguments",
    [
        ["--input", "x", "--name", "a", "--splits", "b"],
        ["--sample", "--name", "a"],
        [],
        ["--sample", "--output", ""],
    ],
)
def test_prepare_with_invalid_arguments(project, arguments):
    result = run(project, "tools/prepare_dsb2018.py", *arguments)
    assert result.returncode == 2
    assert "error:" in result.stderr
    assert "Traceback" not in result.stderr


def test_prepare_without_input(tmp_path, capsys):
    missing = tmp_path / "absent"
    assert prepare_dsb2018.main(["--input", str(missing), "--output", str(tmp_path)]) == 2
    assert f"error: {missing}: no such file or folder" in capsys.readouterr().err


def test_package_weights(tmp_path, capsys):
    config = CONFIGS / "quick/mask_rcnn.yaml"
    arguments = ["--name", "mine", "--config-file", str(config), "--run", str(tmp_path / "run")]
    arguments += ["--output", str(tmp_path / "weights")]
    assert package_weights.main(arguments) == 2
    assert "model_final.pth: no such file; has the run ended?" in capsys.readouterr().err
    results = tmp_path / "run/inference/dsb2018_sample_val/results.json"
    results.parent.mkdir(parents=True)
    results.write_text('{"segm": {"AP": 12.5}}')
    model = Trainer.build_model(load_cfg(config))
    NucleiCheckpointer(model, str(tmp_path / "run")).save("model_final")
    assert package_weights.main(arguments) == 0
    record = json.loads((tmp_path / "weights/mine.json").read_text())
    assert record["scores"] == {"segm": {"AP": 12.5}}
    assert record["trained_on"] == ["dsb2018_sample_train"]
    saved = load_file(tmp_path / "weights/mine.safetensors")
    assert saved.keys() == model.state_dict().keys()
