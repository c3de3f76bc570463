"""Results of others, as they published them, to stand beside ours. They are of other images,
splits and definitions, so they are quoted, not compared."""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

# The real DSB2018 sets: beside any other images, published results would mislead.
DATASETS = {
    "dsb2018_train",
    "dsb2018_val",
    "dsb2018_test",
    "dsb2018_stardist_train",
    "dsb2018_stardist_test",
}


class Quoted(NamedTuple):
    """A published result.

    Args:
        name: of the model.
        images: on which.
        source: where it can be read.
        scores: "task/metric" as in our own results, percent.
    """

    name: str
    images: str
    source: str
    scores: Mapping[str, float]


def _paper(name: str, accuracy: float, iou: float) -> Quoted:
    return Quoted(
        name,
        "65 test images of DSB2018",
        'Z. Wang, Y. Song, "Using deep learning approaches to segment, detect, and extract the '
        'cellular nuclei from fluorescence microscopy images"',
        {"sem_seg/accuracy": accuracy, "sem_seg/IoU": iou},
    )


def _data_science_bowl(name: str, score: float, source: str) -> Quoted:
    return Quoted(name, "second stage of the Data Science Bowl", source, {"nuclei/mAP": score})


_ANALYSIS = "github.com/carpenterlab/2019_caicedo_dsb, 06-analysis.ipynb (the organisers' own)"
QUOTED = (
    _paper("simple CNN", 93.7, 62.0),
    _paper("ResNet-101", 96.1, 77.0),
    _paper("U-Net", 98.0, 83.0),
    _paper("Mask R-CNN", 99.2, 88.0),
    Quoted(
        "StarDist's example",
        "67 of the 447 training images of StarDist's part of DSB2018",
        "github.com/stardist/stardist, examples/2D/2_training.ipynb, model 2D_demo",
        {"nuclei/AP50": 83.5, "nuclei/F1@50": 91.0, "nuclei/PQ": 77.1},
    ),
    _data_science_bowl("Data Science Bowl, first place", 63.2, _ANALYSIS),
    _data_science_bowl(
        "Data Science Bowl, one Mask R-CNN", 59.1, "github.com/gangadhar-p/NucleiDetectron"
    ),
    _data_science_bowl("CellProfiler by an expert", 52.8, _ANALYSIS),
    _data_science_bowl("Data Science Bowl, median of entries", 44.3, _ANALYSIS),
)


def quoted_beside(dataset_names: Iterable[str]) -> tuple[Quoted, ...]:
    """Selects what is shown beside our results.

    Args:
        dataset_names: that our results are of.

    Returns:
        All published results if one of the datasets is of real DSB2018 images, else none.
    """
    return () if DATASETS.isdisjoint(dataset_names) else QUOTED
