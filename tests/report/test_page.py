"""The page in a real browser: Chromium without a window, driven by Selenium."""

import json
import re
import shutil

import cv2
import numpy as np
import pytest
from detectron2.data import DatasetCatalog
from markupsafe import escape

from dsb2018.commands.benchmark import argument_parser, benchmark
from dsb2018.draw import HALO, PREDICTED, TRUTH
from dsb2018.report import quoted
from dsb2018.report.comparison import read_entrant_scores
from dsb2018.report.html import to_html
from dsb2018.structures.ground_truth import read_label_layers

BROWSER, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
DATASET = "dsb2018_sample_val"


@pytest.fixture(scope="module")
def report(sample_root, tmp_path_factory):
    """A report of a tool that misses a nucleus more with each image, and of a perfect one."""
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
        given = ["--output", str(folder), "--data", str(sample_root), "--datasets", DATASET]
        benchmark(argument_parser("").parse_args([*given, "--predictions", *predictions]))
        names = [str(item["dsb_id"]) for item in DatasetCatalog.get(DATASET)]
    finally:
        unregister_dsb2018()
    return folder / "report.html", names


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    if not (BROWSER and DRIVER):
        pytest.skip("no chromium and chromedriver on the path")
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
    """The report, opened anew; at the end it must not have complained of anything."""
    resize(browser, 1280)
    browser.get(report[0].as_uri())
    yield browser
    assert not [line for line in browser.get_log("browser") if line["level"] == "SEVERE"]


def find(page, selector):
    return page.find_elements("css selector", selector)


def choose(page, control, text):
    from selenium.webdriver.support.ui import Select

    Select(find(page, f'[data-control="{control}"]')[0]).select_by_visible_text(text)


def order(page):
    return [card.get_attribute("data-name") for card in find(page, ".card")]


def test_the_page_needs_nothing_else(report):
    text = report[0].read_text()
    assert not re.findall(r"(?:src|href)=\"(?!#)", text)
    assert "http" not in re.sub(r"data:[^\"]*", "", text)
    assert not re.findall(r"/\*(?:STYLE|SCRIPT|DATA)\*/|<!--[A-Z]+-->", text)
    assert "worse &amp; worse" in text
    data = json.loads(re.search(r'id="data">(.*?)</script>', text, re.S)[1].replace("<\\/", "</"))
    assert [each["name"] for each in data[0]["images"]] == report[1]


def test_numbers_of_mistakes(report):
    data = report[0].read_text()
    data = json.loads(re.search(r'id="data">(.*?)</script>', data, re.S)[1])
    for number, image in enumerate(data[0]["images"]):
        worse, perfect = image["by"]
        assert worse["missed"] == min(number, worse["true"])
        assert (perfect["missed"], perfect["false"], perfect["mAP"]) == (0, 0, 100)


def test_it_sorts(page, report):
    names = report[1]
    assert order(page)[-1] == names[0]  # the best last
    worst_first = order(page)
    choose(page, "order", "highest mAP first")
    assert order(page)[0] == names[0]
    assert set(order(page)) == set(worst_first)
    choose(page, "order", "name")
    assert order(page) == sorted(names)


def test_it_compares_side_by_side(page, report):
    assert len(find(page, ".view")) == len(report[1])
    choose(page, "second", "perfect")
    assert len(find(page, ".view")) == 2 * len(report[1])
    choose(page, "order", "where the second is better")
    first, second = (each.text for each in find(page, ".card:first-child .view p"))
    assert first.startswith("worse & worse: mAP")
    assert second.startswith("perfect: mAP 100.0, IoU 100.0")
    assert order(page)[-1] == report[1][0]


def test_it_shows_one_modality(page):
    everything = order(page)
    choose(page, "modality", "histology")
    assert 0 < len(order(page)) < len(everything)
    assert find(page, ".number")[0].text == f"{len(order(page))} images"
    assert all("histology" in each.text for each in find(page, "figcaption"))


@pytest.mark.parametrize("kind", ["truth", "found", "mistakes"])
def test_layers_can_be_switched_off(page, kind):
    def seen():
        return find(page, f".stack .{kind}")[0].is_displayed()

    assert seen()
    find(page, f'[data-control="{kind}"]')[0].click()
    assert not seen()
    find(page, "body")[0].send_keys(kind[0])  # by its key
    assert seen()


def test_the_keyboard_is_enough(page):
    card = find(page, ".card")[0]
    page.execute_script("arguments[0].focus()", card)
    from selenium.webdriver.common.keys import Keys

    card.send_keys(Keys.ENTER)
    assert "large" in card.get_attribute("class")
    card.send_keys(Keys.ENTER)
    assert "large" not in card.get_attribute("class")


def resize(page, width):
    """Of the page itself, as narrow as no window can be."""
    size = {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": False}
    page.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)


@pytest.mark.parametrize("width", [1400, 1280, 420])
def test_nothing_sticks_out(page, width):
    """Neither on a laptop nor on a phone; tables scroll by themselves."""
    resize(page, width)
    assert page.execute_script("return document.documentElement.scrollWidth") <= width
    widths = [element.rect["width"] for element in find(page, ".card, .chart")]
    assert max(widths) <= width


def test_a_wide_window_shows_the_whole_table(page):
    resize(page, 1400)
    (table,) = find(page, ".scroll")
    assert table.get_property("scrollWidth") <= table.get_property("clientWidth")


@pytest.mark.parametrize(("width", "stays"), [(900, True), (420, False)])
def test_names_stay_in_sight_where_there_is_room(page, width, stays):
    resize(page, width)
    (table,) = find(page, ".scroll")
    assert table.get_property("scrollWidth") > table.get_property("clientWidth")
    name = find(page, "th[scope=row]")[0]
    assert name.rect["width"] < 0.5 * width
    before = name.rect["x"]
    page.execute_script("arguments[0].scrollLeft = 200", table)
    assert name.rect["x"] == (before if stays else before - 200)


def test_published_results_are_of_other_images(report):
    text = report[0].read_text()
    assert "Data Science Bowl, first place" not in text  # the sample is drawn by this project
    assert "StarDist's example" not in text


def test_published_results_stand_beside_the_real_data(report, registered, monkeypatch):
    monkeypatch.setattr(quoted, "DATASETS", {DATASET})
    text = to_html([read_entrant_scores(report[0].parent / "perfect" / DATASET)])
    rows = [f'<th scope="row">{escape(result.name)}, quoted</th>' for result in quoted.QUOTED]
    assert all(row in text for row in rows)
    assert all(escape(result.source) in text for result in quoted.QUOTED)


def colors_of(stack):
    shot = cv2.imdecode(np.frombuffer(stack.screenshot_as_png, np.uint8), cv2.IMREAD_COLOR)
    return shot[..., ::-1].astype(int)


def is_near(shot, color):
    return (abs(shot - color) < 30).all(axis=2)


def test_layers_lie_on_the_image(page):
    stack = find(page, ".stack")[0]
    page.execute_script("arguments[0].scrollIntoView()", stack)
    for kind in ("picture", "truth", "found", "mistakes"):
        box = stack.find_element("css selector", f".{kind}").rect
        assert box["width"] == pytest.approx(stack.rect["width"], abs=1)
        assert box["height"] == pytest.approx(stack.rect["height"], abs=1)


def test_both_outlines_are_seen_where_they_agree(page):
    choose(page, "first", "perfect")
    stack = find(page, ".stack")[0]
    page.execute_script("arguments[0].scrollIntoView({block: 'center'})", stack)
    shot = colors_of(stack)
    for color in (TRUTH, PREDICTED, HALO):
        assert is_near(shot, color).sum() > 50


def test_outlines_are_as_wide_in_a_small_picture_as_in_a_large_one(page):
    find(page, '[data-control="found"]')[0].click()
    find(page, '[data-control="mistakes"]')[0].click()
    card = find(page, ".card")[0]
    widths = []
    for _ in ("small", "large"):
        stack = find(page, ".stack")[0]
        page.execute_script("arguments[0].scrollIntoView({block: 'center'})", stack)
        line = np.pad(is_near(colors_of(stack), TRUTH), 1).astype(int).ravel()
        starts, ends = (np.flatnonzero(np.diff(line) == step) for step in (1, -1))
        widths.append(np.median(ends - starts))
        page.execute_script("arguments[0].classList.add('large')", card)
    small, large = widths
    assert 1 <= small <= large <= 3
