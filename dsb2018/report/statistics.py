"""What a dataset is like: sizes, numbers and areas of nuclei, grey values; by modality."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from dsb2018.io.images import read_image
from dsb2018.io.names import image_name
from dsb2018.structures.ground_truth import read_label_layers


@dataclass(frozen=True)
class ImageStatistics:
    """Of one image.

    Args:
        name: of the image.
        modality: "" where it is not known.
        size: height and width, pixels.
        areas: (N,) pixels of each nucleus.
        covered: share of the image that nuclei cover, percent.
        inside, outside: median grey value of nuclei and of the rest, 0 to 255; NaN where there
            is none.
        touching: share of nuclei that have a pixel of another one beside them, percent; NaN
            without nuclei.
    """

    name: str
    modality: str
    size: tuple[int, int]
    areas: np.ndarray
    covered: float
    inside: float
    outside: float
    touching: float


def describe_image(item: Mapping) -> ImageStatistics:
    """Measures one image of a dataset that has truth."""
    layers = read_label_layers(item)
    areas = np.bincount(layers.ravel())[1:]
    nuclei = (layers > 0).any(axis=0)
    grey = read_image(item["file_name"]).mean(axis=2)
    return ImageStatistics(
        name=image_name(item),
        modality=item.get("modality", ""),
        size=(item["height"], item["width"]),
        areas=areas[areas > 0],
        covered=float(100 * nuclei.mean()),
        inside=_median(grey[nuclei]),
        outside=_median(grey[~nuclei]),
        touching=_touching(layers),
    )


def _median(values: np.ndarray) -> float:
    return float(np.median(values)) if values.size else float("nan")


def _touching(layers: np.ndarray) -> float:
    """Percent of nuclei that another one touches over an edge or a corner, or overlaps."""
    labels = np.unique(layers)
    labels = labels[labels > 0]
    touched = set()
    padded = np.pad(layers, ((0, 0), (1, 1), (1, 1)))
    height, width = layers.shape[1:]
    for own in layers:
        for other in padded:
            for dy in range(3):
                for dx in range(3):
                    beside = other[dy : dy + height, dx : dx + width]
                    touched.update(np.unique(own[(own > 0) & (beside > 0) & (own != beside)]))
    return float(100 * len(touched) / len(labels)) if len(labels) else float("nan")


def by_modality(images: Iterable[ImageStatistics]) -> dict[str, list[ImageStatistics]]:
    """All images under "all", and those of each modality where there are several."""
    images = list(images)
    names = sorted({image.modality for image in images})
    groups = {name: [each for each in images if each.modality == name] for name in names}
    return {"all": images, **(groups if len(names) > 1 else {})}


def summarize_images(images: Sequence[ImageStatistics]) -> dict[str, str]:
    """Median and range, from the 5th to the 95th of a hundred, of what was measured."""
    areas = np.concatenate([image.areas for image in images])
    return {
        "images": str(len(images)),
        "nuclei": str(len(areas)),
        "height": _spread([image.size[0] for image in images]),
        "width": _spread([image.size[1] for image in images]),
        "nuclei an image": _spread([len(image.areas) for image in images]),
        "area of a nucleus, pixels": _spread(areas),
        "covered by nuclei, %": _spread([image.covered for image in images]),
        "touching another, %": _spread([image.touching for image in images]),
        "grey value of nuclei": _spread([image.inside for image in images]),
        "grey value beside": _spread([image.outside for image in images]),
    }


def _spread(values: Sequence[float] | np.ndarray) -> str:
    values = np.asarray(values, float)
    values = values[~np.isnan(values)]
    if not len(values):
        return "–"
    low, middle, high = np.percentile(values, [5, 50, 95])
    return f"{middle:.0f} ({low:.0f} to {high:.0f})"
