"""The registry of metrics: how a metric is computed, which direction is better, where it is shown.

A metric is a function and one call of `register_metric`. The evaluators and `tools/benchmark.py`
then compute it, with its bootstrap interval and by modality. It is written to results.json and to
the tables, and it can be `TEST.BEST_METRIC`.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Flag, auto

from dsb2018.evaluation import matching, semantic


class Show(Flag):
    """Where a metric is shown, besides results.json and images.csv, which contain all metrics."""

    NOWHERE = 0
    LOG = auto()  #: scores that are logged at the end of an evaluation
    TABLE = auto()  #: table of all models in a comparison
    MODALITY = auto()  #: table and chart by modality in a comparison
    DIFFERENCE = auto()  #: table of differences between models in a comparison
    IMAGE = auto()  #: gallery of images in a comparison
    EVERYWHERE = LOG | TABLE | MODALITY | DIFFERENCE | IMAGE


@dataclass(frozen=True)
class Metric:
    """A metric.

    Args:
        name: "task/metric", as in results.json. The task names the counted objects: pixels in
            "sem_seg", matched nuclei in "nuclei", COCO's ranked detections in "segm" and "bbox".
        heading: heading in tables.
        compute: function from the counts of all images (`semantic.Pixels` or `matching.Counts`) to
            the score of the dataset in percent, NaN if it is undefined. None for COCO's metrics,
            which `CocoMatches` computes together.
        show: where the metric is shown.
        lower_is_better: whether a lower score is better.
    """

    name: str
    heading: str
    compute: Callable[[Sequence], float] | None = None
    show: Show = Show.NOWHERE
    lower_is_better: bool = False

    @property
    def task(self) -> str:
        """The part of the name before the slash."""
        return self.name.partition("/")[0]

    @property
    def short_name(self) -> str:
        """The part of the name after the slash."""
        return self.name.partition("/")[2]


METRICS: dict[str, Metric] = {}


def register_metric(metric: Metric) -> None:
    """Registers a metric.

    Raises:
        ValueError: a metric of this name is already registered.
    """
    if metric.name in METRICS:
        raise ValueError(f"metric {metric.name} is already registered")
    METRICS[metric.name] = metric


def shown(where: Show) -> dict[str, Metric]:
    """Returns the metrics that are shown in one place, by name, in the order of registration."""
    return {name: metric for name, metric in METRICS.items() if where in metric.show}


def compute_scores(task: str, images: Sequence) -> dict[str, float]:
    """Computes all metrics of a task.

    Args:
        task: "sem_seg" or "nuclei".
        images: counts of each image, see `Metric`.

    Returns:
        {short name of the metric: percent}.
    """
    return {
        metric.short_name: metric.compute(images)
        for metric in METRICS.values()
        if metric.task == task and metric.compute
    }


def is_lower_better(name: str) -> bool:
    """Whether a lower value of a metric or a loss is better.

    Args:
        name: name as in metrics.json, with an optional dataset before it and modality after it.
    """
    matching_metrics = [metric for key, metric in METRICS.items() if f"/{key}/" in f"/{name}/"]
    if matching_metrics:
        return matching_metrics[0].lower_is_better
    return "loss" in name


LOG_AND_TABLE = Show.LOG | Show.TABLE
# AP at other thresholds is only in results.json and images.csv.
AP_SHOW = {
    0.5: LOG_AND_TABLE | Show.DIFFERENCE | Show.IMAGE,
    0.75: Show.TABLE,
    0.9: Show.TABLE,
}
for _metric in (
    Metric("sem_seg/accuracy", "accuracy", semantic.accuracy, LOG_AND_TABLE),
    Metric("sem_seg/IoU", "IoU", semantic.mean_iou, Show.EVERYWHERE),
    Metric("sem_seg/IoU-pooled", "IoU, pooled", semantic.pooled_iou, Show.TABLE),
    Metric("sem_seg/mIoU", "mIoU", semantic.two_class_iou, LOG_AND_TABLE),
    Metric("sem_seg/Dice", "Dice", semantic.mean_dice, LOG_AND_TABLE),
    Metric("nuclei/mAP", "mAP (Kaggle)", matching.kaggle_map, Show.EVERYWHERE),
    *(
        Metric(
            f"nuclei/AP{threshold * 100:.0f}",
            f"AP{threshold * 100:.0f}",
            matching.ap_at(threshold),
            AP_SHOW.get(threshold, Show.NOWHERE),
        )
        for threshold in matching.STARDIST_THRESHOLDS.tolist()
    ),
    Metric("nuclei/F1@50", "F1@50", matching.f1_at(0.5), LOG_AND_TABLE),
    Metric("nuclei/PQ", "PQ", matching.panoptic_quality, LOG_AND_TABLE | Show.DIFFERENCE),
    Metric("nuclei/AJI", "AJI", matching.aji, LOG_AND_TABLE),
    Metric("nuclei/count_error", "count error", matching.count_error, LOG_AND_TABLE, True),
    Metric("segm/AP", "COCO AP", show=LOG_AND_TABLE),
    Metric("segm/AP50", "COCO AP50", show=LOG_AND_TABLE),
    Metric("segm/AP75", "COCO AP75", show=LOG_AND_TABLE),
    Metric("bbox/AP", "box AP", show=Show.LOG),
    Metric("bbox/AP50", "box AP50", show=Show.LOG),
    Metric("bbox/AP75", "box AP75", show=Show.LOG),
):
    register_metric(_metric)
