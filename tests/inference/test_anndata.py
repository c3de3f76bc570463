"""Tests of `--format anndata`, with the library anndata as reader."""

import anndata
import cv2
import numpy as np
import pandas as pd
import pytest

from dsb2018.commands.predict import main
from dsb2018.inference.export import anndata_file
from tests.inference.drawing import micrograph


def run(folder, *options) -> int:
    (folder / "in").mkdir(exist_ok=True)
    for seed in range(2):
        cv2.imwrite(str(folder / "in" / f"i{seed}.png"), micrograph((96, 128), seed)[0])
    arguments = ["--input", str(folder / "in"), "--output", str(folder / "out"), "--diameter", "20"]
    return main([*arguments, "--format", "anndata", *options])


def test_the_table_of_nuclei(tmp_path):
    assert run(tmp_path, "--group", "folder") == 0
    data = anndata.read_h5ad(tmp_path / "out" / "nuclei.h5ad")
    nuclei = pd.read_parquet(tmp_path / "out" / "nuclei.parquet")
    assert data.n_obs == len(nuclei) > 5
    assert data.obs["image"].tolist() == nuclei["image"].tolist()
    assert data.obs["folder"].tolist() == ["in"] * len(nuclei)
    assert data.obs_names.is_unique
    assert np.array_equal(data.obsm["spatial"], nuclei[["centroid_x", "centroid_y"]])
    assert {"area", "eccentricity", "intensity_mean"} <= set(data.var_names)
    assert not {"label", "centroid_x", "box_x", "score", "touching"} & set(data.var_names)
    for name in data.var_names:
        expected = nuclei[name].to_numpy(np.float32)
        assert np.array_equal(data[:, name].X.ravel(), expected, equal_nan=True)


def test_no_library(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(anndata_file, "find_spec", lambda name: None)
    assert run(tmp_path) == 1
    assert 'pip install "dsb2018[anndata]"' in capsys.readouterr().err
    assert not (tmp_path / "out" / "nuclei.csv").exists()


@pytest.mark.parametrize("count", [0])
def test_no_nuclei(tmp_path, count):
    (tmp_path / "in").mkdir()
    cv2.imwrite(str(tmp_path / "in" / "black.png"), np.zeros((64, 64), np.uint8))
    arguments = ["--input", str(tmp_path / "in"), "--output", str(tmp_path / "out")]
    assert main([*arguments, "--format", "anndata"]) == 0
    assert anndata.read_h5ad(tmp_path / "out" / "nuclei.h5ad").n_obs == count
