import json

import numpy as np
import pytest
from benchmark import main  # of tools/, which is on pytest's path
from detectron2.data import DatasetCatalog

from dsb2018.commands import benchmark as command
from dsb2018.commands.benchmark import argument_parser, benchmark
from dsb2018.structures.ground_truth import read_label_layers

DATASET = "dsb2018_sample_val"


@pytest.fixture
def labels(registered, tmp_path):
    """Folders of two tools: one is perfect, the other finds nothing."""
    for name in ("perfect", "blind"):
        (tmp_path / name).mkdir()
        for item in DatasetCatalog.get(DATASET):
            truth = read_label_layers(item)[0]
            found = truth if name == "perfect" else np.zeros_like(truth)
            np.save(tmp_path / name / f"{item['dsb_id']}.npy", found)
    return [f"{name}={tmp_path / name}" for name in ("perfect", "blind")]


def arguments(registered, tmp_path, *more):
    shared = ["--output", tmp_path / "out", "--data", registered, "--datasets", DATASET]
    return [str(each) for each in (*shared, *more)]


def test_a_model_beside_other_tools(labels, registered, project, tmp_path, monkeypatch, capsys):
    config = project / "configs" / "quick" / "unet_light.yaml"
    given = arguments(registered, tmp_path, "--config-file", config, "--predictions", *labels)
    given += ["--weights", "dsb2018://unet_light"]
    assert main(given) == 0
    assert "results.md" in capsys.readouterr().out
    content = json.loads((tmp_path / "out" / "results.json").read_text())
    maps = {each["name"]: each["scores"]["nuclei/mAP"] for each in content["entries"]}
    assert maps["perfect"] == {"value": 100, "low": 100, "high": 100}
    assert maps["blind"]["value"] == 0
    model = maps["quick/unet_light"]
    assert 0 < model["low"] < model["value"] < model["high"] < 100
    clear = {(d["first"], d["second"]): d["points"] for d in content["differences"]}
    assert clear["quick/unet_light", "perfect"]["high"] < 0
    assert clear["perfect", "blind"]["low"] > 0
    files = ("results.md", "results.csv", "results.json")
    before = [(tmp_path / "out" / name).read_text() for name in files]
    monkeypatch.setattr(command, "_in_own_process", None)  # nothing is scored again
    assert main(given) == 0
    assert before == [(tmp_path / "out" / name).read_text() for name in files]


def test_models_can_be_trained_first(registered, project, tmp_path, monkeypatch):
    config = str(project / "configs" / "quick" / "unet_light.yaml")
    calls = []

    def run(function, *given):
        calls.append(given)
        if function is command.train:
            folder = tmp_path / "out" / "quick-unet_light" / "training"
            folder.mkdir(parents=True)
            (folder / "model_final.pth").touch()

    monkeypatch.setattr(command, "_in_own_process", run)
    monkeypatch.setattr(command, "is_scored", lambda *_: False)
    monkeypatch.setattr(command, "read_entrant_scores", lambda folder: None)
    monkeypatch.setattr(command, "write_comparison", lambda entries, output: None)
    args = argument_parser("").parse_args(
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
    assert len(calls) == 1  # the training is done


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ([], "nothing to compare"),
        (["--config-file", "configs/none.yaml"], "configs/none.yaml: no such config"),
        (["--predictions", "x=/no/such/folder"], "/no/such/folder: no such folder"),
        (["--config-file", "{simple}"], "no weights; give --weights, or --train"),
        (["--config-file", "{simple}", "--train", "--weights", "a"], "leave --weights out"),
        (["--config-file", "{simple}", "--weights", "a", "b"], "1 configs and 2 weights"),
    ],
)
def test_what_cannot_be_done_is_said(
    registered, project, tmp_path, capsys, monkeypatch, more, message
):
    monkeypatch.chdir(tmp_path)  # where nothing was trained
    simple = str(project / "configs" / "simple_cnn" / "simple_cnn.yaml")
    assert (
        main(arguments(registered, tmp_path, *(each.format(simple=simple) for each in more))) == 2
    )
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out" / "results.json").exists()


def test_predictions_are_a_name_and_a_folder(capsys):
    with pytest.raises(SystemExit):
        argument_parser("").parse_args(["--output", "x", "--predictions", "folder"])
    assert "'folder', expected NAME=DIR" in capsys.readouterr().err
