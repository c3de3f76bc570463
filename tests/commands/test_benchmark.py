import json

import numpy as np
import pytest
from benchmark import main  # from tools/, which is on pytest's path
from detectron2.data import DatasetCatalog

from dsb2018.commands import benchmark as command
from dsb2018.commands.benchmark import benchmark, benchmark_parser
from dsb2018.data import unregister_dsb2018
from dsb2018.prepare import Options, prepare
from dsb2018.structures.ground_truth import read_label_layers
from tests.prepare import forms

DATASET = "dsb2018_sample_val"


@pytest.fixture
def labels(registered, tmp_path):
    """Folders of two tools: the labels of one are perfect, those of the other are empty."""
    for name in ("perfect", "empty"):
        (tmp_path / name).mkdir()
        for item in DatasetCatalog.get(DATASET):
            ground_truth = read_label_layers(item)[0]
            prediction = ground_truth if name == "perfect" else np.zeros_like(ground_truth)
            np.save(tmp_path / name / f"{item['dsb_id']}.npy", prediction)
    return [f"{name}={tmp_path / name}" for name in ("perfect", "empty")]


def arguments(registered, tmp_path, *options):
    common = ["--output", tmp_path / "out", "--data", registered, "--datasets", DATASET]
    return [str(argument) for argument in (*common, *options)]


def test_model_and_other_tools(labels, registered, project, tmp_path, monkeypatch, capsys):
    config = project / "configs" / "quick" / "unet_light.yaml"
    args = arguments(registered, tmp_path, "--config-file", config, "--predictions", *labels)
    args += ["--weights", "dsb2018://unet_light"]
    assert main(args) == 0
    assert "results.md" in capsys.readouterr().out
    content = json.loads((tmp_path / "out" / "results.json").read_text())
    maps = {entry["name"]: entry["scores"]["nuclei/mAP"] for entry in content["entries"]}
    assert maps["perfect"] == {"value": 100, "low": 100, "high": 100}
    assert maps["empty"]["value"] == 0
    model = maps["quick/unet_light"]
    assert 0 < model["low"] < model["value"] < model["high"] < 100
    differences = {(d["first"], d["second"]): d["points"] for d in content["differences"]}
    assert differences["quick/unet_light", "perfect"]["high"] < 0
    assert differences["perfect", "empty"]["low"] > 0
    files = ("results.md", "results.csv", "results.json")
    first_run = [(tmp_path / "out" / name).read_text() for name in files]
    monkeypatch.setattr(command, "_run_in_new_process", None)  # nothing is scored again
    monkeypatch.setattr(command, "score_entrant", None)
    assert main(args) == 0
    assert first_run == [(tmp_path / "out" / name).read_text() for name in files]


def test_models_are_trained_first(registered, project, tmp_path, monkeypatch):
    config = str(project / "configs" / "quick" / "unet_light.yaml")
    calls = []

    def run(function, *arguments):
        calls.append(arguments)
        if function is command.train:
            folder = tmp_path / "out" / "quick-unet_light" / "training"
            folder.mkdir(parents=True)
            (folder / "model_final.pth").touch()

    monkeypatch.setattr(command, "_run_in_new_process", run)
    monkeypatch.setattr(command, "is_scored", lambda *_: False)
    monkeypatch.setattr(command, "read_entrant_scores", lambda folder: None)
    monkeypatch.setattr(command, "write_comparison", lambda entries, output: None)
    args = benchmark_parser().parse_args(
        arguments(registered, tmp_path, "--train", "--config-file", config)
    )
    benchmark(args)
    weights = str(tmp_path / "out" / "quick-unet_light" / "training" / "model_final.pth")
    training, scoring = calls
    assert training[0].config_file == config
    assert training[0].resume
    assert training[0].opts == ["OUTPUT_DIR", weights.removesuffix("/model_final.pth")]
    assert scoring[0].weights == weights
    calls.clear()
    benchmark(args)
    assert len(calls) == 1  # the model is not trained again


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ([], "nothing to compare"),
        (["--config-file", "configs/none.yaml"], "configs/none.yaml: no such config"),
        (["--predictions", "x=/no/such/folder"], "/no/such/folder: no such folder"),
        (["--config-file", "{border}"], "no weights; give --weights, or --train"),
        (["--config-file", "{simple}", "--train", "--weights", "a"], "cannot be combined"),
        (["--config-file", "{simple}", "--weights", "a", "b"], "1 configs and 2 weights"),
    ],
)
def test_invalid_arguments(registered, project, tmp_path, capsys, monkeypatch, options, message):
    monkeypatch.chdir(tmp_path)  # a folder without trained models
    simple, border = (
        str(project / "configs" / name)
        for name in ("simple_cnn/simple_cnn.yaml", "unet/unet_border.yaml")
    )
    options = [option.format(simple=simple, border=border) for option in options]
    assert main(arguments(registered, tmp_path, *options)) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out" / "results.json").exists()


def test_predictions_need_name_and_folder(capsys):
    with pytest.raises(SystemExit):
        benchmark_parser().parse_args(["--output", "x", "--predictions", "folder"])
    assert "'folder', expected NAME=DIR" in capsys.readouterr().err


def test_dataset_of_foreground_masks(tmp_path):
    forms._write_images(tmp_path / "data" / "images")
    for folder in (tmp_path / "data" / "foreground", tmp_path / "found"):
        folder.mkdir()
        for name, labels in forms._labels().items():
            np.save(folder / f"{name}.npy", labels)
    prepare(Options(tmp_path / "data", tmp_path, name="masks", workers=1, progress=False))
    args = ["--output", tmp_path / "out", "--data", tmp_path, "--datasets", "dsb2018_masks"]
    unregister_dsb2018()
    try:
        assert main([*map(str, args), "--predictions", f"same={tmp_path / 'found'}"]) == 0
    finally:
        unregister_dsb2018()
    page = (tmp_path / "out" / "report.html").read_text()
    assert '"true":null' in page.replace(" ", "")
    assert "Number of nuclei" not in page
    assert "100.0" in (tmp_path / "out" / "results.md").read_text()
