"""The command that trains a model further. `tests/test_notebook.py` runs a whole training."""

import tifffile

from dsb2018.commands import train
from dsb2018.commands.main import main
from tests.inference.drawing import micrograph


def write_images(folder, count):
    for part in ("images", "masks"):
        (folder / part).mkdir(parents=True)
    for seed in range(count):
        pixels, labels = micrograph((96, 96), seed)
        tifffile.imwrite(folder / "images" / f"{seed}.tif", pixels)
        tifffile.imwrite(folder / "masks" / f"{seed}.tif", labels.astype("uint16"))
    return folder


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


def test_an_interrupted_training_is_continued(tmp_path, monkeypatch, capsys):
    commands = []
    monkeypatch.setattr(train, "main", lambda command: commands.append(command) or 0)
    assert main(["finetune", "--output", str(tmp_path), "--resume"]) == 2
    assert "contains no training" in capsys.readouterr().err
    (tmp_path / "config.yaml").touch()
    assert main(["finetune", "--output", str(tmp_path), "--resume"]) == 0
    files = ["--config-file", str(tmp_path / "config.yaml"), "--data", str(tmp_path / "data")]
    assert commands == [[*files, "--resume"]]


def test_images_are_needed_and_not_the_output(tmp_path, capsys):
    assert main(["finetune", "--output", str(tmp_path / "m")]) == 2
    assert "--input is needed" in capsys.readouterr().err
    images = write_images(tmp_path / "mine", 1)
    assert main(["finetune", "--input", str(images), "--output", str(images)]) == 2
    assert "it contains the images; choose another folder" in capsys.readouterr().err


def test_models_that_are_not_dense(tmp_path, capsys):
    arguments = ["--input", "x", "--output", str(tmp_path / "m"), "--model", "mask_rcnn"]
    assert main(["finetune", *arguments]) == 2
    assert "expected a dense model, such as nuclei" in capsys.readouterr().err


def test_errors_of_the_preparation(tmp_path, capsys):
    images = write_images(tmp_path / "mine", 1)
    (images / "masks" / "0.tif").write_bytes(b"damaged")
    assert main(["finetune", "--input", str(images), "--output", str(tmp_path / "m")]) == 1
    assert "0.tif" in capsys.readouterr().err
