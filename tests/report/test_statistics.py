import csv
import json
import re

import cv2
import numpy as np
import pytest
from detectron2.data import DatasetCatalog
from visualize_data import main

from dsb2018.config import read_config
from dsb2018.draw import HALO, TRUTH
from dsb2018.report.data_page import draw_sample, draw_samples
from dsb2018.report.statistics import by_modality, describe_image, summarize_images

LABELS = np.array(
    [
        [1, 1, 0, 0, 0, 0],
        [1, 1, 0, 0, 3, 3],
        [0, 0, 2, 0, 3, 3],  # the second touches the first over a corner
    ],
    np.uint8,
)


@pytest.fixture
def item(tmp_path):
    """An image of grey value 10 with nuclei of 100, and its labels."""
    image = np.where(LABELS > 0, 100, 10).astype(np.uint8)
    cv2.imwrite(str(tmp_path / "a.png"), image)
    np.save(tmp_path / "a.npy", LABELS[None])
    return {
        "file_name": str(tmp_path / "a.png"),
        "label_file": str(tmp_path / "a.npy"),
        "image_id": 1,
        "height": 3,
        "width": 6,
        "modality": "fluorescence",
    }


def test_an_image_by_hand(item):
    found = describe_image(item)
    assert found.areas.tolist() == [4, 1, 4]
    assert found.covered == pytest.approx(100 * 9 / 18)
    assert (found.inside, found.outside) == (100, 10)
    assert found.touching == pytest.approx(100 * 2 / 3)
    assert (found.name, found.modality, found.size) == ("1", "fluorescence", (3, 6))


def test_nuclei_that_overlap_touch(item):
    layers = np.zeros((2, 3, 6), np.uint8)
    layers[0, :, :3] = 1
    layers[1, :, 2:4] = 2
    np.save(item["label_file"], layers)
    assert describe_image(item).touching == 100


def test_an_image_without_nuclei(item):
    np.save(item["label_file"], np.zeros((1, 3, 6), np.uint8))
    found = describe_image(item)
    assert len(found.areas) == found.covered == 0
    assert np.isnan([found.inside, found.touching]).all()
    assert summarize_images([found])["area of a nucleus, pixels"] == "–"


def test_groups_and_summary(item):
    one, other = describe_image(item), describe_image({**item, "modality": "histology"})
    assert list(by_modality([one, one])) == ["all"]
    groups = by_modality([one, other, one])
    assert {name: len(each) for name, each in groups.items()} == {
        "all": 3,
        "fluorescence": 2,
        "histology": 1,
    }
    summary = summarize_images(groups["all"])
    assert (summary["images"], summary["nuclei"]) == ("3", "9")
    assert summary["grey value of nuclei"] == "100 (100 to 100)"


@pytest.mark.parametrize("order", ["RGB", "BGR"])
@pytest.mark.parametrize("family", ["unet_light", "mask_rcnn"])
def test_samples_are_those_of_the_mapper(registered, project, family, order):
    cfg = read_config(str(project / "configs" / "quick" / f"{family}.yaml"))
    cfg.INPUT.FORMAT = order
    cfg.MODEL.DENSE.SEPARATION = "none"
    first, again = (list(draw_samples(cfg, "dsb2018_sample_train", 3)) for _ in range(2))
    for a, b in zip(first, again, strict=True):
        np.testing.assert_array_equal(a, b)  # the same seed
        height, width = a.shape[0] // 2, (a.shape[1] - 8) // 4
        plain, drawn = a[:, : 2 * width], a[:, 2 * width + 8 :]
        changed = (plain != drawn).any(axis=2)
        np.testing.assert_array_equal(np.unique(drawn[changed], axis=0), [HALO, TRUTH])
        assert 0 < changed.mean() < 0.4
        assert height <= cfg.INPUT.CROP_TRAIN


def test_channels_are_shown_as_rgb_and_the_map_beside():
    import torch

    image = torch.zeros(3, 4, 4, dtype=torch.uint8)
    image[0] = 200  # the first channel
    sample = {"image": image, "sem_seg": torch.zeros(4, 4), "interior": torch.full((4, 4), 0.5)}
    assert draw_sample(sample, "RGB")[0, 0].tolist() == [200, 0, 0]
    assert draw_sample(sample, "BGR")[0, 0].tolist() == [0, 0, 200]
    assert draw_sample(sample, "RGB").shape == (8, 40, 3)
    assert draw_sample(sample, "RGB")[0, -1].tolist() == [127] * 3


def test_the_command(registered, project, tmp_path, capsys):
    config = str(project / "configs" / "quick" / "unet_light.yaml")
    given = ["--config-file", config, "--output", str(tmp_path), "--data", str(registered)]
    assert main([*given, "--samples", "2", "--opts", "INPUT.INVERSION", "1.0"]) == 0
    assert "index.html" in capsys.readouterr().out
    with open(tmp_path / "statistics.csv") as file:
        rows = list(csv.DictReader(file))
    items = {
        name: DatasetCatalog.get(name) for name in ("dsb2018_sample_train", "dsb2018_sample_val")
    }
    assert len(rows) == sum(map(len, items.values()))
    annotations = {i["dsb_id"]: len(i["annotations"]) for each in items.values() for i in each}
    assert all(int(row["nuclei"]) == annotations[row["image"]] for row in rows)
    assert len(list((tmp_path / "samples").glob("*.png"))) == 2
    page = (tmp_path / "index.html").read_text()
    assert page.count("data:image/jpeg") == 2
    assert not re.findall(r"/\*(?:STYLE|SCRIPT|DATA)\*/|<!--[A-Z]+-->", page)
    assert json.loads(re.search(r'id="data">(.*?)</script>', page, re.S)[1]) == []


def test_a_dataset_that_was_not_prepared(project, tmp_path, capsys, registered):
    config = str(project / "configs" / "unet" / "unet_light.yaml")
    given = ["--config-file", config, "--output", str(tmp_path), "--data", str(registered)]
    assert main(given) == 2
    assert "dsb2018_train was not prepared" in capsys.readouterr().err
