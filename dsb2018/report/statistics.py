"""Statistics of a dataset by modality: image sizes, numbers and areas of nuclei, gray values."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from dsb2018.images.pixels import read_dataset_image
from dsb2018.io.names import image_name
from dsb2018.structures.ground_truth import has_true_nuclei, read_label_layers


@dataclass(frozen=True)
class ImageStatistics:
    """Statistics of one image.

    Args:
        name: name of the image.
        modality: modality of the image; "" if it is unknown.
        size: height and width, pixels.
        areas: (N,) area of each nucleus, pixels.
        covered: percentage of the pixels that belong to nuclei.
        inside, outside: median gray value inside and outside nuclei; NaN if there are no
            such pixels.
        touching: percentage of the nuclei that touch or overlap another nucleus; NaN without
            nuclei.
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
    """Computes the statistics of one image from its dataset dict, which needs ground truth."""
    layers = read_label_layers(item)
    has_nuclei = has_true_nuclei(item)
    areas = np.bincount(layers.ravel())[1:] if has_nuclei else np.zeros(0, np.int64)
    nuclei = (layers > 0).any(axis=0)
    gray = read_dataset_image(item).mean(axis=2)
    return ImageStatistics(
        name=image_name(item),
        modality=item.get("modality", ""),
        size=(item["height"], item["width"]),
        areas=areas[areas > 0],
        covered=float(100 * nuclei.mean()),
        inside=_median(gray[nuclei]),
        outside=_median(gray[~nuclei]),
        touching=_touching_percentage(layers) if has_nuclei else float("nan"),
    )


def _median(values: np.ndarray) -> float:
    return float(np.median(values)) if values.size else float("nan")


def _touching_percentage(layers: np.ndarray) -> float:
    """Returns the percentage of nuclei that overlap another nucleus or share an edge or a corner
    of a pixel with it."""
    labels = np.unique(layers)
    labels = labels[labels > 0]
    touching = set()
    padded = np.pad(layers, ((0, 0), (1, 1), (1, 1)))
    height, width = layers.shape[1:]
    for layer in layers:
        for padded_layer in padded:
            for dy in range(3):
                for dx in range(3):
                    neighbor = padded_layer[dy : dy + height, dx : dx + width]
                    contact = (layer > 0) & (neighbor > 0) & (layer != neighbor)
                    touching.update(np.unique(layer[contact]))
    return float(100 * len(touching) / len(labels)) if len(labels) else float("nan")


def by_modality(images: Iterable[ImageStatistics]) -> dict[str, list[ImageStatistics]]:
    """Returns all images as the group "all" and, if there are several modalities, a group of images
    for each modality."""
    images = list(images)
    modalities = sorted({image.modality for image in images})
    groups = {
        modality: [image for image in images if image.modality == modality]
        for modality in modalities
    }
    return {"all": images, **(groups if len(modalities) > 1 else {})}


def summarize_images(images: Sequence[ImageStatistics]) -> dict[str, str]:
    """Returns the number of images and of nuclei and, for each measurement, its median and its 5th
    to 95th percentile, as text."""
    areas = np.concatenate([image.areas for image in images])
    return {
        "images": str(len(images)),
        "nuclei": str(len(areas)),
        "height, pixels": _format_percentiles([image.size[0] for image in images]),
        "width, pixels": _format_percentiles([image.size[1] for image in images]),
        "nuclei per image": _format_percentiles([len(image.areas) for image in images]),
        "area of a nucleus, pixels": _format_percentiles(areas),
        "pixels inside nuclei, %": _format_percentiles([image.covered for image in images]),
        "touching nuclei, %": _format_percentiles([image.touching for image in images]),
        "gray value inside nuclei": _format_percentiles([image.inside for image in images]),
        "gray value outside nuclei": _format_percentiles([image.outside for image in images]),
    }


def _format_percentiles(values: Sequence[float] | np.ndarray) -> str:
    values = np.asarray(values, float)
    values = values[~np.isnan(values)]
    if not len(values):
        return "–"
    low, median, high = np.percentile(values, [5, 50, 95])
    return f"{median:.0f} ({low:.0f} to {high:.0f})"
