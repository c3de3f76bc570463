"""Corrections are saved as `dsb2018 prepare` reads them."""

from dataclasses import replace

import numpy as np
import pytest
import tifffile

from dsb2018.images.microscopy_image import MicroscopyImage
from dsb2018.inference.corrections import count_corrections, save_correction
from dsb2018.prepare.forms import open_form
from tests.inference.drawing import micrograph


def test_names_are_safe(tmp_path):
    pixels, labels = micrograph((128, 128))
    image = MicroscopyImage("a", tmp_path, pixels, "YX")
    for path in save_correction(tmp_path / "mine", "../../a b", image, labels):
        assert path.parents[1] == tmp_path / "mine"
    assert count_corrections(tmp_path / "mine") == 1


def test_colors_are_kept(tmp_path):
    _, labels = micrograph((128, 128))
    pixels = np.random.default_rng(0).integers(0, 255, (128, 128, 3), np.uint8)
    image = MicroscopyImage("a", tmp_path, pixels, "YXS")
    path, _ = save_correction(tmp_path, "a", replace(image, stain="hematoxylin"), labels)
    assert np.array_equal(tifffile.imread(path), pixels)
    form = open_form(tmp_path)
    (listed,), _ = form.list_images()
    assert len(form.read_nuclei(listed, 128, 128, [])) == labels.max()


def test_no_nuclei(tmp_path):
    image = MicroscopyImage("a", tmp_path, np.zeros((9, 9)), "YX")
    with pytest.raises(ValueError, match="no nuclei in this plane"):
        save_correction(tmp_path, "a", image, np.zeros((9, 9), int))
    assert not list(tmp_path.iterdir())
