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
        [0, 0, 2, 0, 3, 3],  # nuclei 1 and 2 share a corner
    ],
    np.uint8,
)


@pytest.fixture
def item(tmp_path):
    """Dataset dict of an image with gray value 100 in nuclei and 10 outside, and with `LABELS`."""
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


def test_statistics_of_a_small_image(item):
    image = describe_image(item)
    assert image.areas.tolist() == [4, 1, 4]
    assert image.covered == pytest.approx(100 * 9 / 18)
    assert (image.inside, image.outside) == (100, 10)
    assert image.touching == pytest.approx(100 * 2 / 3)
    assert (image.name, image.modality, image.size) == ("1", "fluorescence", (3, 6))


def test_overlapping_nuclei_touch(item):
    layers = np.zeros((2, 3, 6), np.uint8)
    layers[0, :, :3] = 1
    layers[1, :, 2:4] = 2
    np.save(item["label_file"], layers)
    assert describe_image(item).touching == 100


def test_image_without_nuclei(item):
    np.save(item["label_file"], np.zeros((1, 3, 6), np.uint8))
    image = describe_image(item)
    assert len(image.areas) == image.covered == 0
    assert np.isnan([image.inside, image.touching]).all()
    assert summarize_images([image])["area of a nucleus, pixels"] == "–"


def test_modalities_and_summary(item):
    fluorescence = describe_image(item)
    histology = describe_image({**item, "modality": "histology"})
    assert list(by_modality([fluorescence, fluorescence])) == ["all"]
    groups = by_modality([fluorescence, histology, fluorescence])
    assert {name: len(images) for name, images in groups.items()} == {
        "all": 3,
        "fluorescence": 2,
        "histology": 1,
    }
    summary = summarize_images(groups["all"])
    assert (summary["images"], summary["nuclei"]) == ("3", "9")
    assert summary["gray value inside nuclei"] == "100 (100 to 100)"


@pytest.mark.parametrize("order", ["RGB", "BGR"])
@pytest.mark.parametrize("family", ["unet_light", "mask_rcnn"])
def test_samples_are_reproducible_and_show_outlines(registered, project, family, order):
    cfg = read_config(str(project / "configs" / "quick" / f"{family}.yaml"))
    cfg.INPUT.FORMAT = order
    cfg.MODEL.DENSE.SEPARATION = "none"
    first, second = (list(draw_samples(cfg, "dsb2018_sample_train", 3)) for _ in range(2))
    for picture, same_picture in zip(first, second, strict=True):
        np.testing.assert_array_equal(picture, same_picture)
        height, width = picture.shape[0] // 2, (picture.shape[1] - 8) // 4
        image, outlined = picture[:, : 2 * width], picture[:, 2 * width + 8 :]
        changed = (image != outlined).any(axis=2)
        np.testing.assert_array_equal(np.unique(outlined[changed], axis=0), [HALO, TRUTH])
        assert 0 < changed.mean() < 0.4
        assert height <= cfg.INPUT.CROP_TRAIN


def test_sample_is_drawn_as_rgb_with_its_interior_map():
    import torch

    image = torch.zeros(3, 4, 4, dtype=torch.uint8)
    image[0] = 200  # the first channel
    sample = {"image": image, "sem_seg": torch.zeros(4, 4), "interior": torch.full((4, 4), 0.5)}
    assert draw_sample(sample, "RGB")[0, 0].tolist() == [200, 0, 0]
    assert draw_sample(sample, "BGR")[0, 0].tolist() == [0, 0, 200]
    assert draw_sample(sample, "RGB").shape == (8, 40, 3)
    assert draw_sample(sample, "RGB")[0, -1].tolist() == [127] * 3


def test_command_writes_page_table_and_samples(registered, project, tmp_path, capsys):
    config = str(project / "configs" / "quick" / "unet_light.yaml")
    arguments = ["--config-file", config, "--output", str(tmp_path), "--data", str(registered)]
    assert main([*arguments, "--samples", "2", "--opts", "INPUT.INVERSION", "1.0"]) == 0
    assert "index.html" in capsys.readouterr().out
    with open(tmp_path / "statistics.csv") as file:
        rows = list(csv.DictReader(file))
    items = [
        item
        for name in ("dsb2018_sample_train", "dsb2018_sample_val")
        for item in DatasetCatalog.get(name)
    ]
    assert len(rows) == len(items)
    nuclei = {item["dsb_id"]: len(item["annotations"]) for item in items}
    assert all(int(row["nuclei"]) == nuclei[row["image"]] for row in rows)
    assert len(list((tmp_path / "samples").glob("*.png"))) == 2
    page = (tmp_path / "index.html").read_text()
    assert page.count("data:image/jpeg") == 2
    assert not re.findall(r"/\*(?:STYLE|SCRIPT|DATA)\*/|<!--[A-Z]+-->", page)
    assert json.loads(re.search(r'id="data">(.*?)</script>', page, re.S)[1]) == []


def test_unprepared_dataset_is_an_error(project, tmp_path, capsys, registered):
    config = str(project / "configs" / "unet" / "unet_light.yaml")
    arguments = ["--config-file", config, "--output", str(tmp_path), "--data", str(registered)]
    assert main(arguments) == 2
    assert "dsb2018_train was not prepared" in capsys.readouterr().err
