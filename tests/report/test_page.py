"""Tests of report.html in headless Chromium, controlled by Selenium."""

import json
import re
import shutil

import cv2
import numpy as np
import pytest
from detectron2.data import DatasetCatalog
from markupsafe import escape

from dsb2018.commands.benchmark import benchmark, benchmark_parser
from dsb2018.draw import HALO, PREDICTED, TRUTH
from dsb2018.report import quoted
from dsb2018.report.comparison import read_entrant_scores
from dsb2018.report.html import to_html
from dsb2018.structures.ground_truth import read_label_layers

BROWSER, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
DATASET = "dsb2018_sample_val"


@pytest.fixture(scope="module")
def report(sample_root, tmp_path_factory):
    """A report of two tools: one misses n nuclei in image n, the other one is perfect."""
    from dsb2018.data import register_dsb2018, unregister_dsb2018

    folder = tmp_path_factory.mktemp("report")
    unregister_dsb2018()
    register_dsb2018(sample_root)
    try:
        for name in ("worse & worse", "perfect"):
            (folder / name).mkdir()
            for number, item in enumerate(DatasetCatalog.get(DATASET)):
                labels = read_label_layers(item)[0].copy()
                if name != "perfect":
                    labels[labels <= number] = 0
                np.save(folder / name / f"{item['dsb_id']}.npy", labels)
        predictions = [f"{name}={folder / name}" for name in ("worse & worse", "perfect")]
        arguments = ["--output", str(folder), "--data", str(sample_root), "--datasets", DATASET]
        benchmark(benchmark_parser().parse_args([*arguments, "--predictions", *predictions]))
        names = [str(item["dsb_id"]) for item in DatasetCatalog.get(DATASET)]
    finally:
        unregister_dsb2018()
    return folder / "report.html", names


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    if not (BROWSER and DRIVER):
        pytest.skip("chromium or chromedriver is not on the PATH")
    selenium = pytest.importorskip("selenium.webdriver")
    options = selenium.ChromeOptions()
    options.binary_location = BROWSER
    for argument in (
        *("headless", "no-sandbox", "disable-gpu", "window-size=1280,900"),
        *("disable-background-networking", "disable-component-update", "disable-sync"),
        f"user-data-dir={tmp_path_factory.mktemp('browser')}",
    ):
        options.add_argument(f"--{argument}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = selenium.Chrome(options, selenium.ChromeService(DRIVER))
    yield driver
    driver.quit()


@pytest.fixture
def page(browser, report):
    """The report in the browser. At the end, the browser must have logged no error."""
    resize(browser, 1280)
    browser.get(report[0].as_uri())
    yield browser
    assert not [line for line in browser.get_log("browser") if line["level"] == "SEVERE"]


def find(page, selector):
    """Returns the elements of a CSS selector."""
    return page.find_elements("css selector", selector)


def choose(page, control, text):
    """Selects an option of a select element."""
    from selenium.webdriver.support.ui import Select

    Select(find(page, f'[data-control="{control}"]')[0]).select_by_visible_text(text)


def card_names(page):
    """Returns the names of the images in the order of their cards."""
    return [card.get_attribute("data-name") for card in find(page, ".card")]


def test_page_needs_no_other_files(report):
    text = report[0].read_text()
    assert not re.findall(r"(?:src|href)=\"(?!#)", text)
    assert "http" not in re.sub(r"data:[^\"]*", "", text)
    assert not re.findall(r"/\*(?:STYLE|SCRIPT|DATA)\*/|<!--[A-Z]+-->", text)
    assert "worse &amp; worse" in text
    data = json.loads(re.search(r'id="data">(.*?)</script>', text, re.S)[1].replace("<\\/", "</"))
    assert [image["name"] for image in data[0]["images"]] == report[1]


def test_counts_of_mistakes(report):
    data = report[0].read_text()
    data = json.loads(re.search(r'id="data">(.*?)</script>', data, re.S)[1])
    for number, image in enumerate(data[0]["images"]):
        worse, perfect = image["by"]
        assert worse["missed"] == min(number, worse["true"])
        assert (perfect["missed"], perfect["false"], perfect["mAP"]) == (0, 0, 100)


def test_sort_order(page, report):
    names = report[1]
    assert card_names(page)[-1] == names[0]  # the best image is last
    worst_first = card_names(page)
    choose(page, "order", "highest mAP first")
    assert card_names(page)[0] == names[0]
    assert set(card_names(page)) == set(worst_first)
    choose(page, "order", "name")
    assert card_names(page) == sorted(names)


def test_two_models_side_by_side(page, report):
    assert len(find(page, ".view")) == len(report[1])
    choose(page, "second", "perfect")
    assert len(find(page, ".view")) == 2 * len(report[1])
    choose(page, "order", "largest mAP lead of the second model")
    first, second = (line.text for line in find(page, ".card:first-child .view p"))
    assert first.startswith("worse & worse: mAP")
    assert second.startswith("perfect: mAP 100.0, IoU 100.0")
    assert card_names(page)[-1] == report[1][0]


def test_selection_of_a_modality(page):
    all_names = card_names(page)
    choose(page, "modality", "histology")
    assert 0 < len(card_names(page)) < len(all_names)
    assert find(page, ".number")[0].text == f"{len(card_names(page))} images"
    assert all("histology" in caption.text for caption in find(page, "figcaption"))


@pytest.mark.parametrize("kind", ["truth", "found", "mistakes"])
def test_layers_can_be_switched_off(page, kind):
    def is_visible():
        return find(page, f".stack .{kind}")[0].is_displayed()

    assert is_visible()
    find(page, f'[data-control="{kind}"]')[0].click()
    assert not is_visible()
    find(page, "body")[0].send_keys(kind[0])  # keyboard shortcut
    assert is_visible()


def test_enter_key_enlarges_a_card(page):
    card = find(page, ".card")[0]
    page.execute_script("arguments[0].focus()", card)
    from selenium.webdriver.common.keys import Keys

    card.send_keys(Keys.ENTER)
    assert "large" in card.get_attribute("class")
    card.send_keys(Keys.ENTER)
    assert "large" not in card.get_attribute("class")


def resize(page, width):
    """Sets the width of the page, which can be smaller than the smallest window."""
    size = {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": False}
    page.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)


@pytest.mark.parametrize("width", [1400, 1280, 420])
def test_page_fits_the_window(page, width):
    """On a laptop and on a phone; only tables scroll sideways."""
    resize(page, width)
    assert page.execute_script("return document.documentElement.scrollWidth") <= width
    widths = [element.rect["width"] for element in find(page, ".card, .chart")]
    assert max(widths) <= width


def test_wide_window_shows_the_whole_table(page):
    resize(page, 1400)
    (table,) = find(page, ".scroll")
    assert table.get_property("scrollWidth") <= table.get_property("clientWidth")


@pytest.mark.parametrize(("width", "is_sticky"), [(900, True), (420, False)])
def test_names_of_rows_are_sticky_in_wide_windows(page, width, is_sticky):
    resize(page, width)
    (table,) = find(page, ".scroll")
    assert table.get_property("scrollWidth") > table.get_property("clientWidth")
    name = find(page, "th[scope=row]")[0]
    assert name.rect["width"] < 0.5 * width
    before = name.rect["x"]
    page.execute_script("arguments[0].scrollLeft = 200", table)
    assert name.rect["x"] == (before if is_sticky else before - 200)


def test_no_published_results_next_to_synthetic_data(report):
    text = report[0].read_text()
    assert "Data Science Bowl, first place" not in text
    assert "StarDist example model" not in text


def test_published_results_next_to_real_data(report, registered, monkeypatch):
    monkeypatch.setattr(quoted, "DATASETS", {DATASET})
    text = to_html([read_entrant_scores(report[0].parent / "perfect" / DATASET)])
    rows = [f'<th scope="row">{escape(result.name)}, quoted</th>' for result in quoted.QUOTED]
    assert all(row in text for row in rows)
    assert all(escape(result.source) in text for result in quoted.QUOTED)


def take_screenshot(stack):
    """Returns a screenshot of an element, (H, W, 3) RGB."""
    shot = cv2.imdecode(np.frombuffer(stack.screenshot_as_png, np.uint8), cv2.IMREAD_COLOR)
    return shot[..., ::-1].astype(int)


def is_near(shot, color):
    """Returns (H, W) bool: the pixels that are similar to a color."""
    return (abs(shot - color) < 30).all(axis=2)


def test_layers_have_the_size_of_the_image(page):
    stack = find(page, ".stack")[0]
    page.execute_script("arguments[0].scrollIntoView()", stack)
    for kind in ("picture", "truth", "found", "mistakes"):
        box = stack.find_element("css selector", f".{kind}").rect
        assert box["width"] == pytest.approx(stack.rect["width"], abs=1)
        assert box["height"] == pytest.approx(stack.rect["height"], abs=1)


def test_identical_outlines_are_both_visible(page):
    choose(page, "first", "perfect")
    stack = find(page, ".stack")[0]
    page.execute_script("arguments[0].scrollIntoView({block: 'center'})", stack)
    shot = take_screenshot(stack)
    for color in (TRUTH, PREDICTED, HALO):
        assert is_near(shot, color).sum() > 50


def test_line_width_does_not_depend_on_the_size_of_the_picture(page):
    find(page, '[data-control="found"]')[0].click()
    find(page, '[data-control="mistakes"]')[0].click()
    card = find(page, ".card")[0]
    widths = []
    for _ in ("small", "large"):
        stack = find(page, ".stack")[0]
        page.execute_script("arguments[0].scrollIntoView({block: 'center'})", stack)
        line = np.pad(is_near(take_screenshot(stack), TRUTH), 1).astype(int).ravel()
        starts, ends = (np.flatnonzero(np.diff(line) == step) for step in (1, -1))
        widths.append(np.median(ends - starts))
        page.execute_script("arguments[0].classList.add('large')", card)
    small, large = widths
    assert 1 <= small <= large <= 3
