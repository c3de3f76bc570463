"""Published results of others.

They were measured on other images and splits, with other definitions, so the reports quote them and
do not compare them.
"""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

# Datasets of real DSB2018 images. Next to other images, the published results would mislead.
DATASETS = {
    "dsb2018_train",
    "dsb2018_val",
    "dsb2018_test",
    "dsb2018_stardist_train",
    "dsb2018_stardist_test",
}
PAPER = (
    'Z. Wang, Y. Song, "Using deep learning approaches to segment, detect, and extract the '
    'cellular nuclei from fluorescence microscopy images"'
)


class Quoted(NamedTuple):
    """A published result.

    Args:
        name: name of the model.
        images: images that the model was evaluated on.
        source: publication, or file in a public repository.
        scores: {"task/metric", as in the results of this project: percent}.
    """

    name: str
    images: str
    source: str
    scores: Mapping[str, float]


def _paper_result(name: str, accuracy: float, iou: float) -> Quoted:
    return Quoted(
        name,
        "65 test images of DSB2018",
        PAPER,
        {"sem_seg/accuracy": accuracy, "sem_seg/IoU": iou},
    )


def _data_science_bowl_result(name: str, score: float, source: str) -> Quoted:
    return Quoted(name, "second stage of the Data Science Bowl", source, {"nuclei/mAP": score})


_ANALYSIS = "github.com/carpenterlab/2019_caicedo_dsb, 06-analysis.ipynb (by the organizers)"
QUOTED = (
    _paper_result("simple CNN", 93.7, 62.0),
    _paper_result("ResNet-101", 96.1, 77.0),
    _paper_result("U-Net", 98.0, 83.0),
    _paper_result("Mask R-CNN", 99.2, 88.0),
    Quoted(
        "StarDist example model",
        "67 of the 447 training images of StarDist's subset of DSB2018",
        "github.com/stardist/stardist, examples/2D/2_training.ipynb, model 2D_demo",
        {"nuclei/AP50": 83.5, "nuclei/F1@50": 91.0, "nuclei/PQ": 77.1},
    ),
    _data_science_bowl_result("Data Science Bowl, first place", 63.2, _ANALYSIS),
    _data_science_bowl_result(
        "Data Science Bowl, single Mask R-CNN", 59.1, "github.com/gangadhar-p/NucleiDetectron"
    ),
    _data_science_bowl_result("CellProfiler, used by an expert", 52.8, _ANALYSIS),
    _data_science_bowl_result("Data Science Bowl, median of all entries", 44.3, _ANALYSIS),
)


def quoted_beside(dataset_names: Iterable[str]) -> tuple[Quoted, ...]:
    """Returns the published results to show next to our results.

    Args:
        dataset_names: datasets of our results.

    Returns:
        All published results if one of the datasets has real DSB2018 images, else none.
    """
    return () if DATASETS.isdisjoint(dataset_names) else QUOTED
