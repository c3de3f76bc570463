"""The command that trains a model further."""

import subprocess
import sys

import pytest
import tifffile

from dsb2018 import Predictor
from dsb2018.commands import finetune, train
from dsb2018.commands.main import main
from tests.inference.test_predictor import micrograph


def write_images(folder, count):
    for part in ("images", "masks"):
        (folder / part).mkdir(parents=True)
    for seed in range(count):
        pixels, labels = micrograph((96, 96), seed)
        tifffile.imwrite(folder / "images" / f"{seed}.tif", pixels)
        tifffile.imwrite(folder / "masks" / f"{seed}.tif", labels.astype("uint16"))
    return folder


def test_model_is_trained_further(tmp_path):
    images = write_images(tmp_path / "mine", 5)
    # In a process of its own, because a dataset is registered once.
    command = [sys.executable, "-W", "ignore", "-m", "dsb2018", "finetune", "--input", str(images)]
    options = ["--output", str(tmp_path / "model"), "--model", "fast", "--iterations", "2"]
    subprocess.run([*command, *options], check=True)
    assert (tmp_path / "model" / "inference" / "dsb2018_mine_val" / "results.json").exists()
    pixels, labels = micrograph((128, 128), 9)
    nuclei = Predictor(tmp_path / "model")(pixels)
    assert len(nuclei) == pytest.approx(labels.max(), abs=3)
    assert finetune.find_start(str(tmp_path / "model"))[1].startswith(str(tmp_path))


def test_it_begins_with_the_weights_of_the_model(tmp_path, monkeypatch):
    commands = []
    monkeypatch.setattr(train, "main", lambda command: commands.append(command) or 0)
    images = write_images(tmp_path / "mine", 1)
    arguments = ["--input", str(images / "images"), "--truth", str(images / "masks")]
    assert main(["finetune", *arguments, "--output", str(tmp_path / "model")]) == 0
    (command,) = commands
    options = dict(zip(command[4::2], command[5::2], strict=True))
    assert options["MODEL.WEIGHTS"] == "dsb2018://nuclei"
    assert options["SOLVER.MAX_ITER"] == "200"
    assert options["DATASETS.TEST"] == "()"


def test_a_model_is_not_replaced(tmp_path, capsys):
    (tmp_path / "config.yaml").touch()
    assert main(["finetune", "--input", "x", "--output", str(tmp_path)]) == 2
    assert "there is a model already; choose another --output" in capsys.readouterr().err


def test_models_that_are_not_dense(tmp_path, capsys):
    arguments = ["--input", "x", "--output", str(tmp_path / "m"), "--model", "mask_rcnn"]
    assert main(["finetune", *arguments]) == 2
    assert "expected a dense model, such as nuclei" in capsys.readouterr().err


def test_errors_of_the_preparation(tmp_path, capsys):
    images = write_images(tmp_path / "mine", 1)
    (images / "masks" / "0.tif").write_bytes(b"damaged")
    assert main(["finetune", "--input", str(images), "--output", str(tmp_path / "m")]) == 1
    assert "0.tif" in capsys.readouterr().err
