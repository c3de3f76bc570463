"""All metrics by name: how each is computed, which direction is better, and where it is shown.

A metric is one function and one call of `register`. Everything else follows: it is computed by the
evaluators and by `tools/benchmark.py`, with its bootstrap interval and by modality; written to
results.json and to the tables; and it can be `TEST.BEST_METRIC`.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import Flag, auto

from dsb2018.evaluation import matching, semantic


class Show(Flag):
    """Where a metric is shown, beside results.json and images.csv, which have all of them."""

    NOWHERE = 0
    LOG = auto()  # the scores at the end of an evaluation
    TABLE = auto()  # the comparison's table of all models
    MODALITY = auto()  # the comparison's table and chart by modality
    DIFFERENCE = auto()  # the comparison's differences between models
    IMAGE = auto()  # the comparison's gallery, for each image
    EVERYWHERE = LOG | TABLE | MODALITY | DIFFERENCE | IMAGE


@dataclass(frozen=True)
class Metric:
    """One metric.

    Args:
        name: "task/metric" as in results.json. The task says what is counted: "sem_seg" pixels,
            "nuclei" matched nuclei, "segm" and "bbox" COCO's ranked detections.
        heading: its name in tables.
        compute: from what was counted in each image (`semantic.Pixels` or `matching.Counts`) to the
            score of the dataset in percent, NaN where there is nothing to divide by. None for
            COCO's, which `CocoMatches` computes together.
        show: where it is shown.
        lower_is_better: whether a lower score is better.
    """

    name: str
    heading: str
    compute: Callable[[Sequence], float] | None = None
    show: Show = Show.NOWHERE
    lower_is_better: bool = False

    @property
    def task(self) -> str:
        """What is counted."""
        return self.name.partition("/")[0]

    @property
    def short_name(self) -> str:
        """The name without the task."""
        return self.name.partition("/")[2]


METRICS: dict[str, Metric] = {}


def register(metric: Metric) -> None:
    """Adds a metric.

    Raises:
        ValueError: the name is taken.
    """
    if metric.name in METRICS:
        raise ValueError(f"metric {metric.name} is registered already")
    METRICS[metric.name] = metric


def shown(where: Show) -> dict[str, Metric]:
    """The metrics that are shown somewhere, by name, in the order of their registration."""
    return {name: metric for name, metric in METRICS.items() if where in metric.show}


def compute_scores(task: str, images: Sequence) -> dict[str, float]:
    """{metric: percent} of a task, the names without the task.

    Args:
        task: "sem_seg" or "nuclei".
        images: what was counted in each image.
    """
    metrics = [metric for metric in METRICS.values() if metric.task == task and metric.compute]
    return {metric.short_name: metric.compute(images) for metric in metrics}


def is_lower_better(name: str) -> bool:
    """Whether a lower value is better, of a metric or of a loss.

    Args:
        name: as in metrics.json; the dataset may stand before it, and a modality behind it.
    """
    matching_metrics = [metric for key, metric in METRICS.items() if f"/{key}/" in f"/{name}/"]
    if matching_metrics:
        return matching_metrics[0].lower_is_better
    return "loss" in name


def _register_all(metrics: Mapping[str, tuple]) -> None:
    for name, arguments in metrics.items():
        register(Metric(name, *arguments))


LOG_AND_TABLE = Show.LOG | Show.TABLE
_register_all(
    {
        "sem_seg/accuracy": ("accuracy", semantic.accuracy, LOG_AND_TABLE),
        "sem_seg/IoU": ("IoU", semantic.mean_iou, Show.EVERYWHERE),
        "sem_seg/IoU-pooled": ("IoU, pooled", semantic.pooled_iou, Show.TABLE),
        "sem_seg/mIoU": ("mIoU", semantic.two_class_iou, LOG_AND_TABLE),
        "sem_seg/Dice": ("Dice", semantic.mean_dice, LOG_AND_TABLE),
        "nuclei/mAP": ("mAP (Kaggle)", matching.kaggle_map, Show.EVERYWHERE),
    }
)
for _threshold in matching.STARDIST_THRESHOLDS:
    _percent = round(100 * _threshold)
    _show = {
        50: LOG_AND_TABLE | Show.DIFFERENCE | Show.IMAGE,
        75: Show.TABLE,
        90: Show.TABLE,
    }.get(_percent, Show.NOWHERE)
    register(
        Metric(f"nuclei/AP{_percent}", f"AP{_percent}", matching.ap_at(float(_threshold)), _show)
    )
_register_all(
    {
        "nuclei/F1@50": ("F1@50", matching.f1_at(0.5), LOG_AND_TABLE),
        "nuclei/PQ": ("PQ", matching.panoptic_quality, LOG_AND_TABLE | Show.DIFFERENCE),
        "nuclei/AJI": ("AJI", matching.aji, LOG_AND_TABLE),
        "nuclei/count_error": ("count error", matching.count_error, LOG_AND_TABLE, True),
        "segm/AP": ("COCO AP", None, LOG_AND_TABLE),
        "segm/AP50": ("COCO AP50", None, LOG_AND_TABLE),
        "segm/AP75": ("COCO AP75", None, LOG_AND_TABLE),
        "bbox/AP": ("box AP", None, Show.LOG),
        "bbox/AP50": ("box AP50", None, Show.LOG),
        "bbox/AP75": ("box AP75", None, Show.LOG),
    }
)
