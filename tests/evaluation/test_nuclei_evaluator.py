import csv

import numpy as np
import pytest
import torch
from detectron2.data import DatasetCatalog
from detectron2.utils import comm

from dsb2018.evaluation import NucleiEvaluator, matching, semantic
from dsb2018.evaluation.nuclei_evaluator import ImageCounts, image_table
from dsb2018.structures.ground_truth import read_label_layers
from dsb2018.structures.instances import from_instances
from tests.evaluation.cases import imperfect_masks, masks_of, to_instances, to_output


def labels_of(instances, score_thresh=0.5):
    return from_instances(instances).without_overlaps(score_thresh).labels


@pytest.fixture
def pairs(registered):
    """Dataset dicts and outputs of the validation images of the sample dataset."""
    rng = np.random.default_rng(0)
    return [
        (item, to_output(to_instances(imperfect_masks(masks_of(read_label_layers(item)), rng))))
        for item in DatasetCatalog.get("dsb2018_sample_val")
    ]


def evaluate(pairs, evaluator=None):
    evaluator = evaluator or NucleiEvaluator(0.5)
    for sample, output in pairs:
        evaluator.process([sample], [output])
    return evaluator.evaluate()


def test_perfect_predictions_score_100(pairs):
    perfect = [
        (sample, to_output(to_instances(masks_of(read_label_layers(sample)))))
        for sample, _ in pairs
    ]
    results = evaluate(perfect)
    for task, metrics in results.items():
        for name, value in metrics.items():
            assert value == (0 if "count_error" in name else 100), (task, name)


def test_counts_of_processes_are_gathered(pairs, monkeypatch):
    expected = evaluate(pairs)
    assert 0 < expected["nuclei"]["mAP"] < 100
    first, second = NucleiEvaluator(0.5), NucleiEvaluator(0.5)
    evaluate(pairs[:3], first)
    evaluate(pairs[2:], second)  # an image of both processes counts once
    monkeypatch.setattr(comm, "gather", lambda images: [images, second._images])
    assert first.evaluate() == expected


def test_table_has_the_scores_of_each_image(pairs, tmp_path):
    evaluate(pairs, NucleiEvaluator(0.5, tmp_path / "images.csv"))
    with (tmp_path / "images.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["image"] for row in rows] == [sample["dsb_id"] for sample, _ in pairs]
    for row, (sample, output) in zip(rows, pairs, strict=True):
        scores = evaluate([(sample, output)])
        assert row["modality"] == sample["modality"]
        assert int(row["true"]) == len(masks_of(read_label_layers(sample)))
        for task, names in (("sem_seg", ("IoU", "Dice")), ("nuclei", ("mAP", "PQ"))):
            for name in names:
                assert float(row[name]) == pytest.approx(scores[task][name], abs=1e-3)


def test_undefined_scores_are_empty_in_the_table():
    no_nuclei = matching.compare(np.zeros((1, 4, 4), np.uint8), np.zeros((4, 4), np.int32))
    image = ImageCounts("a,b", None, semantic.Pixels(0, 0, 0, 16), no_nuclei)
    (row,) = csv.DictReader(image_table([image]).splitlines())
    assert (row["image"], row["modality"], row["true"]) == ("a,b", "", "0")
    assert (row["PQ"], row["mAP"]) == ("", "100.0")


def test_scores_by_modality(pairs):
    results = evaluate(pairs)
    modalities = {sample["modality"] for sample, _ in pairs}
    assert modalities == {"fluorescence", "histology", "brightfield"}
    for modality in modalities:
        expected = evaluate([pair for pair in pairs if pair[0]["modality"] == modality])
        for task in ("sem_seg", "nuclei"):
            for name in ("IoU", "Dice") if task == "sem_seg" else ("mAP", "PQ", "AP50"):
                assert results[task][f"{name}/{modality}"] == expected[task][name]


def test_only_the_main_process_returns_results(pairs, monkeypatch):
    monkeypatch.setattr(comm, "is_main_process", lambda: False)
    assert evaluate(pairs[:1]) is None


def test_shared_pixels_belong_to_the_best_instance():
    masks = np.zeros((3, 2, 6), bool)
    masks[0, :, 0:3], masks[1, :, 2:5], masks[2, :, 5:6] = True, True, True
    labels = labels_of(to_instances(masks, scores=[0.6, 0.9, 0.3]))
    assert labels.tolist() == [[2, 2, 1, 1, 1, 0]] * 2


@pytest.mark.parametrize(("hidden", "kept"), [(4, True), (5, False)])
def test_mostly_covered_instances_are_removed(hidden, kept):
    masks = np.zeros((2, 1, 20), bool)
    masks[0, 0, :hidden], masks[1, 0, :8] = True, True
    labels = labels_of(to_instances(masks, scores=[0.9, 0.8]))
    assert labels[0].tolist() == [1] * hidden + [2 * kept] * (8 - hidden) + [0] * 12


def test_labels_without_instances():
    no_instances = to_instances(np.zeros((0, 4, 5), bool))
    np.testing.assert_array_equal(labels_of(no_instances), np.zeros((4, 5)))


def test_semantic_map_of_the_output_is_used(pairs):
    sample, output = pairs[0]
    output = {**output, "sem_seg": torch.zeros_like(output["sem_seg"])}  # a tie is background
    results = evaluate([(sample, output)])
    assert results["sem_seg"]["IoU"] == 0
    assert results["nuclei"]["mAP"] > 0


def test_bfloat16_scores():
    instances = to_instances(np.ones((2, 3, 3), bool), scores=[0.5, 0.75])
    instances.scores = instances.scores.bfloat16()
    assert (labels_of(instances) == 1).all()


def test_foreground_masks_count_for_pixels_only(pairs, tmp_path):
    expected = evaluate(pairs)
    foreground = [({**sample, "foreground_only": True}, output) for sample, output in pairs]
    results = evaluate(foreground, NucleiEvaluator(0.5, tmp_path / "images.csv"))
    assert results["sem_seg"] == expected["sem_seg"]
    assert all(np.isnan(value) for value in results["nuclei"].values())
    with (tmp_path / "images.csv").open(newline="") as file:
        (row, *_) = csv.DictReader(file)
    assert (row["true"], row["predicted"], row["mAP"]) == ("", "", "")
    assert float(row["IoU"]) > 0
    # One image of nuclei among them: the scores of nuclei are those of this image.
    some = evaluate([pairs[0], *foreground[1:]])
    assert some["nuclei"]["mAP"] == evaluate(pairs[:1])["nuclei"]["mAP"]
    assert some["sem_seg"] == expected["sem_seg"]
