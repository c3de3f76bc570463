"""The notebook of the documentation runs from beginning to end."""

from pathlib import Path

import pytest

from dsb2018.commands.finetune import find_start

nbformat = pytest.importorskip("nbformat")
nbclient = pytest.importorskip("nbclient")
NOTEBOOK = Path(__file__).parents[1] / "docs" / "notebooks" / "quickstart.ipynb"


def outputs(notebook):
    """Returns the kinds of output of each cell of code."""
    return [
        [output["output_type"] for output in cell["outputs"] if output.get("name") != "stderr"]
        for cell in notebook.cells
        if cell["cell_type"] == "code"
    ]


def test_quickstart(tmp_path):
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    stored = outputs(notebook)
    (training,) = [cell for cell in notebook.cells if cell["source"].startswith("iterations = ")]
    training["source"] = training["source"].replace("iterations = 20", "iterations = 1")
    resources = {"metadata": {"path": str(tmp_path)}}
    nbclient.NotebookClient(notebook, timeout=300, resources=resources).execute()
    assert outputs(notebook) == stored  # what readers see is what they get
    scores = "".join(training["outputs"][0]["text"])
    assert "Scores on dsb2018_mine_val, percent:" in scores
    model = tmp_path / "my_model"
    assert (model / "inference" / "dsb2018_mine_val" / "results.json").exists()
    assert find_start(str(model)) == (str(model / "config.yaml"), str(model / "model_final.pth"))
