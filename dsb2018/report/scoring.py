"""Scores one entrant on one dataset and writes the results to a folder.

    scores.json   scores by metric, number of images by modality, cost
    samples.npz   scores of the bootstrap draws
    images.csv    scores of each image
    labels/       predicted label image of each image

`scores.json` is written last, so a folder that contains it is complete.
"""

import hashlib
import json
import logging
import math
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.evaluation import DatasetEvaluators
from detectron2.utils.file_io import PathManager

from dsb2018.config import read_config
from dsb2018.data import register_dsb2018
from dsb2018.evaluation import CocoEvaluator, NucleiEvaluator
from dsb2018.evaluation.coco_evaluator import CocoMatches
from dsb2018.evaluation.image_writers import LabelWriter
from dsb2018.evaluation.nuclei_evaluator import ImageCounts
from dsb2018.io.files import read_json, replacing, write_atomically
from dsb2018.io.names import image_name
from dsb2018.memory import peak_memory
from dsb2018.progress import progress
from dsb2018.report.bootstrap import draw_images, sample_scores, score_images
from dsb2018.report.entrants import (
    Entrant,
    LoadedEntrant,
    load_entrant,
    read_cost,
    training_datasets,
)
from dsb2018.structures.ground_truth import has_ground_truth, has_true_nuclei

logger = logging.getLogger(__name__)
SCORES, SAMPLES, IMAGES, LABELS = "scores.json", "samples.npz", "images.csv", "labels"


def is_scored(entrant: Entrant, dataset_name: str, root: str, folder: Path) -> bool:
    """Whether the folder contains complete scores, and the files of the entrant and of the dataset
    have not changed since."""
    register_dsb2018(root)
    try:
        record = read_json(folder / SCORES)
        is_complete = isinstance(record["scores"], dict) and "sem_seg/IoU" in record["scores"]
        return is_complete and record["fingerprint"] == fingerprint(entrant, dataset_name)
    except (OSError, ValueError, KeyError, TypeError):  # missing or damaged: score again
        return False


def score_entrant(entrant: Entrant, dataset_name: str, root: str, folder: Path) -> None:
    """Predicts the nuclei of each image, scores them and writes the results to a folder.

    The measured memory and time are those of the whole process, so it should do nothing else.

    Args:
        entrant: model or folder of label images.
        dataset_name: name of a prepared dataset.
        root: folder of the prepared datasets.
        folder: output folder.

    Raises:
        ValueError: the dataset is empty or lacks ground truth; see also `load_entrant` and
            `read_labels`.
        FileNotFoundError: see `load_entrant` and `read_labels`.
    """
    register_dsb2018(root)
    items = _load_items(dataset_name)
    (folder / SCORES).unlink(missing_ok=True)
    input_fingerprint = fingerprint(entrant, dataset_name)
    loaded = load_entrant(entrant)
    coco = CocoEvaluator(distributed=False)
    nuclei = NucleiEvaluator(table=folder / IMAGES, distributed=False)
    labels = LabelWriter(folder / LABELS, {item["image_id"] for item in items})
    seconds = _predict(loaded, items, DatasetEvaluators([coco, nuclei, labels]))
    cost = {
        "seconds_per_image": seconds / len(items),
        "parameters": loaded.parameters,
        "peak_memory": _peak_memory(),
    }

    nuclei.evaluate()  # writes images.csv
    has_nuclei = has_true_nuclei(items[0])
    matches = coco.matches(by_area=False) if loaded.ranked and has_nuclei else None
    scores, samples = _score_by_modality(nuclei.images, matches)
    with replacing(folder / SAMPLES) as file:
        np.savez_compressed(file, **samples)
    record = {
        "name": entrant.name,
        "dataset": dataset_name,
        "images": len(items),
        "modalities": Counter(image.modality for image in nuclei.images if image.modality),
        "scores": {name: None if math.isnan(v) else v for name, v in scores.items()},
        "cost": cost if entrant.is_model else read_cost(entrant.weights),
        "seen": count_seen(items, training_datasets(entrant)),
        "fingerprint": input_fingerprint,
    }
    write_atomically(folder / SCORES, json.dumps(record, indent=2) + "\n")


def _load_items(dataset_name: str) -> list[dict]:
    """The dataset dicts, all with ground truth."""
    items = DatasetCatalog.get(dataset_name)
    if not items or not all(has_ground_truth(item) for item in items):
        raise ValueError(
            f"{dataset_name}: the dataset is empty or lacks ground truth, so it cannot be scored; "
            "prepare it with masks or --solution"
        )
    if len(set(map(has_true_nuclei, items))) > 1:
        raise ValueError(
            f"{dataset_name}: single nuclei are known in some images, and only the foreground in "
            "others, expected the same kind of ground truth in all; prepare two datasets"
        )
    return items


def _score_by_modality(
    images: list[ImageCounts], matches: CocoMatches | None
) -> tuple[dict[str, float], dict[str, np.ndarray]]:
    """Computes the scores of all images and of each modality.

    Returns:
        The scores of the images, and the scores of each bootstrap draw, see `sample_scores`.
    """
    groups: dict[str, Sequence[int]] = {"": range(len(images))}
    for modality in sorted({image.modality for image in images if image.modality}):
        groups[modality] = [i for i, image in enumerate(images) if image.modality == modality]
    scores = {}
    for group, members in groups.items():
        group_scores = score_images(images, matches, members)
        scores.update({f"{name}/{group}" if group else name: v for name, v in group_scores.items()})
    return scores, sample_scores(images, matches, groups, draw_images(len(images)))


def count_seen(items: list[dict], training: Sequence[str]) -> int:
    """Returns the number of images that are also in one of the training datasets.

    Training datasets that are not registered or not prepared are ignored.
    """
    seen = set()
    for name in training:
        if name in DatasetCatalog.list():
            try:
                seen |= {image_name(item) for item in DatasetCatalog.get(name)}
            except FileNotFoundError:
                logger.warning(
                    "%s is not prepared, so the report cannot tell whether the evaluation images "
                    "were used for training",
                    name,
                )
    return sum(image_name(item) in seen for item in items)


def _predict(loaded: LoadedEntrant, items: list[dict], evaluators: DatasetEvaluators) -> float:
    """Predicts each image and passes the predictions to the evaluators.

    Returns:
        Seconds from image files to nuclei, without an additional first prediction to warm up.
    """
    loaded.predict(items[0])
    evaluators.reset()
    seconds = 0.0
    for item in progress(items, "image", len(items)):
        start = time.perf_counter()
        prediction = loaded.predict(item)
        seconds += time.perf_counter() - start
        evaluators.process([item], [prediction])
    return seconds


def _peak_memory() -> int:
    """Returns the peak memory in bytes: of the GPU if there is one, else of this process."""
    return torch.cuda.max_memory_allocated() if torch.cuda.is_available() else peak_memory()


def fingerprint(entrant: Entrant, dataset_name: str) -> str:
    """Returns the SHA-256 of the inputs of the scores: config and weights, or label images, and the
    JSON file of the dataset."""
    digest = hashlib.sha256()
    files = [Path(MetadataCatalog.get(dataset_name).json_file)]
    if entrant.is_model:
        digest.update(read_config(entrant.config).dump().encode())
        files.append(Path(PathManager.get_local_path(entrant.weights)))
    else:
        files += sorted(path for path in Path(entrant.weights).iterdir() if path.is_file())
    for path in files:
        digest.update(path.name.encode())
        with open(path, "rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()
