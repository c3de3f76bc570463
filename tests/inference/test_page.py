"""Tests of the page of results."""

import re

import cv2
import numpy as np
import pytest

from dsb2018.commands.predict import main
from dsb2018.inference import results_page as module
from tests.inference.drawing import micrograph
from tests.report.test_page import browser  # noqa: F401 a fixture


@pytest.fixture(scope="module")
def output(tmp_path_factory):
    """Results of two images of nuclei, one of noise, and a damaged file."""
    folder = tmp_path_factory.mktemp("page")
    (folder / "images").mkdir()
    for seed, name in enumerate(("a", "b <i>&")):
        cv2.imwrite(str(folder / "images" / f"{name}.png"), micrograph((128, 160), seed)[0])
    blobs = cv2.GaussianBlur(np.random.default_rng(0).normal(0, 1, (128, 160)), (0, 0), 2)
    noise = np.clip(128 + 250 * blobs, 0, 255).astype(np.uint8)
    cv2.imwrite(str(folder / "images" / "noise.png"), noise)
    (folder / "images" / "damaged.png").write_bytes(b"no image")
    arguments = ["--input", str(folder / "images"), "--output", str(folder / "out")]
    assert main([*arguments, "--diameter", "20"]) == 1
    return folder / "out"


def test_the_page_shows_all_images_and_works_offline(output):
    page = (output / "index.html").read_text()
    assert page.count('src="data:image/jpeg;base64,') == 3
    assert "b &lt;i&gt;&amp;" in page
    assert "<i>" not in page
    assert "damaged.png: not a readable image" in page
    assert not re.search(r'(src|href)="(?!data:|#|nuclei\.csv|images\.csv)', page)
    settings = page[page.index('id="settings"') :]
    assert re.search(r"--diameter</th><td>20", settings)
    assert "pixel-size" not in settings


def test_more_images_than_pictures(output, monkeypatch, tmp_path):
    records = {
        name: {"images": [{"image": name, "nuclei": 1, "warning": "", **NUMBERS}]}
        for name in ("a", "b <i>&")
    }
    monkeypatch.setattr(module, "MOST_PICTURES", 1)
    module.write_page(tmp_path / "index.html", records, output / ".done", [], {})
    page = (tmp_path / "index.html").read_text()
    assert page.count('src="data:image/jpeg;base64,') == 1
    assert "Pictures of the first 1 images" in page
    assert 'id="failed"' not in page


NUMBERS = {
    "nuclei_per_megapixel": 1.0,
    "covered": 0.5,
    "median_diameter": None,
    "median_score": None,
}


@pytest.mark.parametrize("width", [1400, 420])
def test_a_click_enlarges_a_picture(output, browser, width):  # noqa: F811
    browser.set_window_size(width, 900)
    browser.get((output / "index.html").as_uri())
    images = browser.find_elements("css selector", ".card img")
    assert len(images) == 3
    assert all(image.get_property("naturalWidth") >= 300 for image in images)
    before = images[0].size["width"]
    images[0].click()
    after = images[0].size["width"]
    assert after > 1.5 * before or width == 420
    assert browser.execute_script("return document.body.scrollWidth") <= width
