"""The data page: statistics of datasets, and training samples with their ground truth."""

import base64
import io
from collections.abc import Iterator, Sequence
from pathlib import Path

import cv2
import numpy as np
from detectron2.config import CfgNode
from detectron2.data import DatasetCatalog
from detectron2.utils.env import seed_all_rng
from markupsafe import Markup

from dsb2018.data import TrainingMapper
from dsb2018.data.sampling import modality_repeat_factors
from dsb2018.draw import TRUTH, draw_outlines
from dsb2018.io.csv_text import write_rows
from dsb2018.io.files import write_atomically
from dsb2018.pages.charts import histogram_chart, legend
from dsb2018.pages.render import render
from dsb2018.report.statistics import ImageStatistics, by_modality, describe_image, summarize_images
from dsb2018.structures.ground_truth import has_ground_truth


def write_data_page(cfg: CfgNode, dataset_names: Sequence[str], output: Path, count: int) -> None:
    """Writes `index.html`, `statistics.csv` and `samples/<number>.png`.

    Args:
        cfg: config with the augmentations of the samples.
        dataset_names: registered datasets; the samples are from the first one.
        output: output folder.
        count: number of samples.

    Raises:
        ValueError: a dataset is empty or lacks ground truth.
    """
    statistics = {}
    for name in dataset_names:
        items = DatasetCatalog.get(name)
        if not items or not all(has_ground_truth(item) for item in items):
            raise ValueError(
                f"{name}: the dataset is empty or lacks ground truth, so it has no statistics; "
                "prepare it with masks or --solution"
            )
        statistics[name] = [describe_image(item) for item in items]
    write_atomically(output / "statistics.csv", _to_csv(statistics))
    pictures = []
    for number, picture in enumerate(draw_samples(cfg, dataset_names[0], count)):
        picture = np.ascontiguousarray(picture[..., ::-1])
        png = cv2.imencode(".png", picture)[1].tobytes()
        write_atomically(output / "samples" / f"{number:03d}.png", png)
        jpeg = cv2.imencode(".jpg", picture)[1].tobytes()
        pictures.append(base64.b64encode(jpeg).decode())
    page = render(
        "data.html",
        title="Nuclei: statistics of the datasets",
        introduction="Medians, with the 5th to the 95th percentile in parentheses. Gray values "
        "range from 0 to 255.",
        names=[*statistics, "samples"],
        sections=[_section(name, images) for name, images in statistics.items()],
        sampled=dataset_names[0],
        pictures=pictures,
        data=[],
    )
    write_atomically(output / "index.html", page)


def draw_samples(cfg: CfgNode, dataset_name: str, count: int) -> Iterator[np.ndarray]:
    """Draws training samples as the model gets them, next to the same samples with ground truth.

    Args:
        cfg: config of the model.
        dataset_name: a registered dataset.
        count: number of samples.

    Yields:
        (2 H, 4 W + 8, 3) uint8 RGB; with an interior map (2 H, 6 W + 16, 3).
    """
    items = DatasetCatalog.get(dataset_name)
    mapper = TrainingMapper(cfg)
    factors = modality_repeat_factors(items, cfg.DATALOADER.MODALITY_POWER).double().numpy()
    rng = np.random.default_rng(max(0, cfg.SEED))
    for index in rng.choice(len(items), count, p=factors / factors.sum()):
        seed_all_rng(int(rng.integers(2**31)))
        yield draw_sample(mapper(items[index]), cfg.INPUT.FORMAT)


def draw_sample(sample: dict, channel_order: str) -> np.ndarray:
    """Draws a sample of `TrainingMapper`, next to it the sample with outlines: of each nucleus if
    the sample has instances, else of the semantic map.

    Args:
        sample: dict with `image`, `sem_seg` and optionally `instances` and `interior`.
        channel_order: channel order of `image`, "RGB" or "BGR".

    Returns:
        See `draw_samples`.
    """
    image = sample["image"].permute(1, 2, 0).numpy()
    image = np.ascontiguousarray(image[..., ::-1] if channel_order == "BGR" else image)
    labels = sample["sem_seg"].numpy()
    if "instances" in sample:
        masks = sample["instances"].gt_masks.tensor.numpy()
        labels = (masks * np.arange(1, len(masks) + 1)[:, None, None]).max(axis=0, initial=0)
    no_labels = np.zeros(image.shape[:2], np.uint8)
    gap = np.full((2 * image.shape[0], 8, 3), 255, np.uint8)
    panels = [draw_outlines(image, no_labels, TRUTH), gap, draw_outlines(image, labels, TRUTH)]
    if "interior" in sample:
        gray = (255 * sample["interior"].numpy()).astype(np.uint8)
        panels += [gap, draw_outlines(np.dstack([gray] * 3), no_labels, TRUTH)]
    return np.hstack(panels)


def _to_csv(statistics: dict[str, list[ImageStatistics]]) -> str:
    file = io.StringIO()
    columns = ("covered", "inside", "outside", "touching")
    rows = [["dataset", "image", "modality", "height", "width", "nuclei", "median_area", *columns]]
    for name, images in statistics.items():
        for image in images:
            area = float(np.median(image.areas)) if len(image.areas) else ""
            numbers = [
                "" if np.isnan(v) else round(v, 3) for v in (getattr(image, c) for c in columns)
            ]
            head = [name, image.name, image.modality, *image.size, len(image.areas), area]
            rows.append([*head, *numbers])
    write_rows(file, rows)
    return file.getvalue()


def _section(name: str, images: list[ImageStatistics]) -> dict:
    groups = by_modality(images)
    columns = {group: summarize_images(members) for group, members in groups.items()}
    labels = next(iter(columns.values()))
    rows = [[label, *(column[label] for column in columns.values())] for label in labels]
    charts = {
        "Nuclei per image": {
            group: [len(image.areas) for image in members] for group, members in groups.items()
        },
        "Area of a nucleus, pixels": {
            group: np.concatenate([image.areas for image in members])
            for group, members in groups.items()
        },
    }
    return {
        "name": name,
        "rows": [["", *(group or "unknown" for group in columns)], *rows],
        "kinds": [""] * (1 + len(rows)),
        "legend": Markup(legend(groups)),
        "charts": {
            title: Markup(histogram_chart(series, title, title.lower()))
            for title, series in charts.items()
        },
    }
