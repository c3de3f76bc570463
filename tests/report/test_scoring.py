import csv
import json

import numpy as np
import pytest
from detectron2.data import DatasetCatalog
from skimage.io import imread, imsave

from dsb2018.checkpoint import NucleiCheckpointer
from dsb2018.config import read_config
from dsb2018.engine import Trainer
from dsb2018.report.bootstrap import interval
from dsb2018.report.entrants import (
    Entrant,
    labels_to_prediction,
    name_entrants,
    read_labels,
    training_datasets,
)
from dsb2018.report.scoring import count_seen, is_scored, score_entrant
from dsb2018.structures.ground_truth import read_label_layers

DATASET = "dsb2018_sample_val"


@pytest.fixture
def perfect(registered, tmp_path):
    """A folder with the ground truth as label images, in three of the supported formats."""
    folder = tmp_path / "perfect"
    folder.mkdir()
    for number, item in enumerate(DatasetCatalog.get(DATASET)):
        labels = read_label_layers(item)[0]
        if number % 3 == 0:
            np.save(folder / f"{item['dsb_id']}.npy", labels)
        else:
            suffix = ("png", "tif")[number % 2]
            image = labels.astype(np.uint16)
            imsave(folder / f"{item['dsb_id']}.{suffix}", image, check_contrast=False)
    (folder / "cost.json").write_text(json.dumps({"seconds_per_image": 0.25}))
    return Entrant("perfect", "", str(folder))


def test_ground_truth_has_perfect_scores(perfect, registered, tmp_path):
    out = tmp_path / "out"
    assert not is_scored(perfect, DATASET, registered, out)
    score_entrant(perfect, DATASET, registered, out)
    assert is_scored(perfect, DATASET, registered, out)
    record = json.loads((out / "scores.json").read_text())
    items = DatasetCatalog.get(DATASET)
    assert record["images"] == len(items) == sum(record["modalities"].values())
    assert record["cost"] == {"seconds_per_image": 0.25}
    for metric in ("sem_seg/IoU", "sem_seg/accuracy", "nuclei/mAP", "nuclei/AP90", "nuclei/PQ"):
        assert record["scores"][metric] == pytest.approx(100), metric
    assert not any(name.startswith("segm/") for name in record["scores"])  # no confidence scores
    samples = np.load(out / "samples.npz")
    assert set(samples.files) == set(record["scores"])
    assert interval(100.0, samples["nuclei/mAP"]) == (100, 100, 100)
    with open(out / "images.csv") as file:
        assert [float(row["mAP"]) for row in csv.DictReader(file)] == [100] * len(items)
    for item in items:
        labels = imread(out / "labels" / f"{item['dsb_id']}.png")
        np.testing.assert_array_equal(labels > 0, read_label_layers(item)[0] > 0)


def test_model_has_the_scores_of_train_net(registered, project, tmp_path):
    config = str(project / "configs" / "quick" / "unet_light.yaml")
    model = Entrant("light", config, "dsb2018://unet_light")
    score_entrant(model, DATASET, registered, tmp_path / "out")
    record = json.loads((tmp_path / "out" / "scores.json").read_text())
    cfg = read_config(config)
    cfg.merge_from_list(["MODEL.DEVICE", "cpu", "OUTPUT_DIR", str(tmp_path / "eval")])
    network = Trainer.build_model(cfg)
    NucleiCheckpointer(network).load(model.weights)
    expected = Trainer.test(cfg, network)
    for task in ("sem_seg", "nuclei", "segm"):
        for name, value in expected[task].items():
            if name not in ("APs", "APm", "APl"):
                assert record["scores"][f"{task}/{name}"] == pytest.approx(value), name
    assert {"segm/AP/fluorescence", "segm/AP50"} <= set(record["scores"])
    assert record["cost"]["parameters"] == sum(p.numel() for p in network.parameters())
    assert 0 < record["cost"]["seconds_per_image"] < 60
    assert record["cost"]["peak_memory"] > 1e8


def test_changed_labels_are_scored_again(perfect, registered, tmp_path):
    out = tmp_path / "out"
    score_entrant(perfect, DATASET, registered, out)
    path = next(path for path in (tmp_path / "perfect").glob("*.npy"))
    np.save(path, np.zeros_like(np.load(path)))
    assert not is_scored(perfect, DATASET, registered, out)
    score_entrant(perfect, DATASET, registered, out)
    scores = json.loads((out / "scores.json").read_text())["scores"]
    assert scores["nuclei/mAP"] == pytest.approx(100 * 7 / 8)


def test_labels_to_prediction():
    labels = np.array([[0, 9, 9], [4, 0, 9]], np.int32)
    prediction = labels_to_prediction(labels)
    np.testing.assert_array_equal(prediction.nuclei.labels == 1, labels == 4)
    np.testing.assert_array_equal(prediction.nuclei.labels == 2, labels == 9)
    np.testing.assert_array_equal(prediction.detections.corners(), [[0, 1, 1, 2], [1, 0, 3, 2]])
    np.testing.assert_array_equal(prediction.foreground, labels > 0)
    assert len(labels_to_prediction(np.full((2, 2), 3, np.int32)).nuclei) == 1
    assert len(labels_to_prediction(np.zeros((2, 2), np.int32)).nuclei) == 0


@pytest.mark.parametrize(
    ("labels", "description"),
    [
        (np.zeros((4, 4), np.float32), "float32 array of shape"),
        (np.zeros((4, 5), np.uint8), r"uint8 array of shape \(4, 5\)"),
        (np.zeros((4, 4, 3), np.uint8), r"uint8 array of shape \(4, 4, 3\)"),
        (np.full((4, 4), -1), "int64 array of shape"),
    ],
)
def test_invalid_label_image_is_an_error(tmp_path, labels, description):
    np.save(tmp_path / "a.npy", labels)
    message = rf"a\.npy: {description}.*expected integers of shape \(4, 4\)"
    with pytest.raises(ValueError, match=message):
        read_labels(str(tmp_path), "a", (4, 4))


def test_missing_label_image_or_folder_is_an_error(registered, tmp_path):
    message = r"no label image for b, expected b with the extension \.tif"
    with pytest.raises(FileNotFoundError, match=message):
        read_labels(str(tmp_path), "b", (4, 4))
    missing = Entrant("missing", "", str(tmp_path / "missing"))
    with pytest.raises(FileNotFoundError, match="missing"):
        score_entrant(missing, DATASET, registered, tmp_path / "out")
    assert not (tmp_path / "out" / "scores.json").exists()


def test_training_datasets_and_seen_images(registered, project, tmp_path):
    val, train = (DatasetCatalog.get(f"dsb2018_sample_{part}") for part in ("val", "train"))
    assert count_seen(val, ["dsb2018_sample_train"]) == 0
    assert count_seen([*val, train[0]], ["dsb2018_sample_train"]) == 1
    assert count_seen(val, ["dsb2018_sample_val", "unknown", "dsb2018_test"]) == len(val)
    config = str(project / "configs" / "quick" / "unet_light.yaml")
    assert training_datasets(Entrant("a", config, "")) == ("dsb2018_sample_train",)
    packaged = Entrant("a", config, "dsb2018://unet_light")
    assert training_datasets(packaged) == ("dsb2018_train",)
    cfg = read_config(config, ["DATASETS.TRAIN", "('dsb2018_mine',)"])
    (tmp_path / "config.yaml").write_text(cfg.dump())  # as training writes it
    trained = Entrant("a", config, str(tmp_path / "model_final.pth"))
    assert training_datasets(trained) == ("dsb2018_mine",)
    (tmp_path / "cost.json").write_text(json.dumps({"trained_on": ["x"]}))
    assert training_datasets(Entrant("a", "", str(tmp_path))) == ("x",)


def test_names_of_entrants(tmp_path, monkeypatch):
    configs = ["configs/unet/unet.yaml", "/a/configs/unet/unet_light.yaml"]
    entrants = name_entrants(configs, ["x.pth", "dsb2018://unet_light"], [("StarDist", "dir")])
    assert [entrant.name for entrant in entrants] == ["unet/unet", "unet/unet_light", "StarDist"]
    assert [entrant.is_model for entrant in entrants] == [True, True, False]
    run = "output/mask_rcnn/lite0_FPN/config.yaml"  # written by training
    assert name_entrants([run], ["x.pth"], [])[0].name == "mask_rcnn/lite0_FPN"
    monkeypatch.chdir(tmp_path)
    folder = "/".join(tmp_path.parts[-2:])
    assert name_entrants(["config.yaml"], ["x.pth"], [])[0].name == folder
    same_config = name_entrants(configs[:1] * 2, ["a/x.pth", "a/y.pth"], [])
    assert [entrant.name for entrant in same_config] == ["unet/unet x", "unet/unet y"]
    assert same_config[0].folder_name == "unet-unet_x"
    with pytest.raises(ValueError, match="two entries are named 'unet/unet x'"):
        name_entrants(configs[:1] * 2, ["a/x.pth", "b/x.pth"], [])
    with pytest.raises(ValueError, match="2 configs and 1 weights, expected one"):
        name_entrants(configs, ["x.pth"], [])


@pytest.mark.parametrize(
    "labels",
    [
        np.full((256, 256), 2**32 + 7, np.uint64),
        np.arange(65536, dtype=np.uint32).reshape(256, 256),
    ],
)
def test_too_many_or_too_large_labels_are_an_error(tmp_path, labels):
    np.save(tmp_path / "a.npy", labels)
    with pytest.raises(ValueError, match="check that this is a label image"):
        read_labels(str(tmp_path), "a", (256, 256))
