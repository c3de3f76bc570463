"""The page in a real browser: Chromium without a window, driven by Selenium."""

import json
import re
import shutil

import cv2
import numpy as np
import pytest
from detectron2.data import DatasetCatalog

from dsb2018.commands.benchmark import argument_parser, benchmark
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
    browser.set_window_size(1280, 900)
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


@pytest.mark.parametrize("width", [1280, 390])
def test_nothing_sticks_out(page, width):
    """Neither on a laptop nor on a phone; tables scroll by themselves."""
    page.set_window_size(width, 800)
    assert page.execute_script("return document.documentElement.scrollWidth") <= max(width, 500)
    widths = [each.rect["width"] for each in find(page, ".card, .chart")]
    assert max(widths) <= width


def test_layers_lie_on_the_image(page):
    """The truth's outline covers edges of nuclei in the picture as the browser draws it."""
    stack = find(page, ".stack")[0]
    page.execute_script("arguments[0].scrollIntoView()", stack)
    for kind in ("picture", "truth"):
        box = stack.find_element("css selector", f".{kind}").rect
        assert box["width"] == pytest.approx(stack.rect["width"], abs=1)
        assert box["height"] == pytest.approx(stack.rect["height"], abs=1)
    shot = cv2.imdecode(np.frombuffer(stack.screenshot_as_png, np.uint8), cv2.IMREAD_COLOR)
    green = (abs(shot[..., ::-1].astype(int) - (0, 158, 115)) < 30).all(axis=2)
    vermilion = (abs(shot[..., ::-1].astype(int) - (213, 94, 0)) < 30).all(axis=2)
    assert green.any() or vermilion.any()
