"""Pictures of the gallery: each image, with layers that can be switched on and off.

The pictures are data URIs, so the page needs no other files.
"""

import base64
import io
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from detectron2.data import DatasetCatalog
from PIL import Image

from dsb2018.draw import HALO, PREDICTED, TRUTH, find_outlines
from dsb2018.evaluation.metrics import Show, shown
from dsb2018.evaluation.mistakes import FALSE, MERGED, MISSED, SPLIT, find_mistakes
from dsb2018.images.pixels import read_picture
from dsb2018.io.csv_text import read_rows
from dsb2018.io.names import image_file_name, image_name
from dsb2018.report.comparison import EntrantScores
from dsb2018.report.entrants import read_labels
from dsb2018.report.scoring import IMAGES, LABELS
from dsb2018.structures.ground_truth import has_true_nuclei, read_label_layers
from dsb2018.structures.labels import flatten_labels

MAX_SIZE = 512  # longest edge of a picture, pixels
# Colors of the Okabe-Ito palette that `dsb2018.draw` does not use for outlines.
MISTAKE_COLORS = {
    MISSED: (213, 94, 0),
    FALSE: (204, 121, 167),
    SPLIT: (0, 158, 115),
    MERGED: (0, 114, 178),
}
SHOWN = [metric.short_name for metric in shown(Show.IMAGE).values()]  # scores of each image
ALPHA = 150  # opacity of the filled mistakes, 0 to 255


def gallery(entries: Sequence[EntrantScores]) -> list[dict]:
    """Returns all images of a dataset, which must be registered, with the results of each entrant.

    Args:
        entries: scores on the same dataset.

    Returns:
        A dict for each image: `name`, `modality`, `size` (width, height in pixels), `picture`,
        `truth` (ground truth outlines), and `by`, which has for each entry its scores, its numbers
        of mistakes and the layers `found` and `mistakes`, see `draw_result`.
    """
    tables = [_read_table(entry.folder / IMAGES) for entry in entries]
    images = []
    for item in DatasetCatalog.get(entries[0].dataset):
        name = image_name(item)
        size = item["height"], item["width"]
        truth = read_label_layers(item)
        results = []
        for entry, table in zip(entries, tables, strict=True):
            labels = read_labels(str(entry.folder / LABELS), image_file_name(item), size)
            # Without true nuclei, there are no mistakes: every nucleus is taken as found.
            compared = truth if has_true_nuclei(item) else labels[None]
            results.append({**_parse_scores(table[name]), **draw_result(compared, labels)})
        images.append(
            {
                "name": name,
                "modality": item.get("modality", ""),
                "size": [size[1], size[0]],
                "picture": _jpeg(read_picture(item)),
                "truth": outline_layer(flatten_labels(truth), TRUTH),
                "by": results,
            }
        )
    return images


def _read_table(path: Path) -> dict[str, dict[str, str]]:
    return {row["image"]: row for row in read_rows(path)}


def _parse_scores(row: dict[str, str]) -> dict[str, float | int | None]:
    scores = {name: float(row[name]) if row[name] else None for name in SHOWN}
    counts = {name: int(row[name]) if row[name] else None for name in ("true", "predicted")}
    return {**scores, **counts}


def draw_result(truth: np.ndarray, labels: np.ndarray) -> dict:
    """Draws the predicted nuclei of an image and their mistakes.

    Args:
        truth: (L, H, W) label layers of the ground truth.
        labels: (H, W) integer labels of the predicted nuclei.

    Returns:
        Numbers of missed, false, split and merged nuclei, and the layers `found` (outlines of the
        predicted nuclei) and `mistakes` (filled nuclei), as data URIs.
    """
    mistakes = find_mistakes(truth, labels)
    # Missed and split nuclei are drawn with their true shape, others with their predicted shape.
    fills = np.zeros(labels.shape, np.uint8)
    true_labels = flatten_labels(truth)
    for index, kind in enumerate(MISTAKE_COLORS, start=1):
        if kind in (MISSED, SPLIT):
            chosen = mistakes.true_labels[mistakes.true_kinds == kind]
            label_image = true_labels
        else:
            chosen = mistakes.predicted_labels[mistakes.predicted_kinds == kind]
            label_image = labels
        fills[np.isin(label_image, chosen)] = index
    colors = [(*color, ALPHA) for color in MISTAKE_COLORS.values()]
    count = mistakes.count()
    return {
        **{kind: count[kind] for kind in MISTAKE_COLORS},
        "found": outline_layer(labels, PREDICTED, dashes="3 7"),
        "mistakes": _png(_resize(fills, cv2.INTER_NEAREST), colors),
    }


def outline_layer(labels: np.ndarray, color: tuple[int, int, int], dashes: str = "none") -> str:
    """Draws the outline of each nucleus with a dark halo on a transparent background.

    Lines have the same width on the screen at any size of the picture. Lower layers are visible
    between dashes.

    Args:
        labels: (H, W) integer, 0 is background.
        color: RGB, 0 to 255.
        dashes: value of SVG's `stroke-dasharray`.

    Returns:
        SVG as a data URI.
    """
    height, width = labels.shape
    path = "".join(_to_path(outline[:, 0]) for outline in find_outlines(labels))
    # The center of the first pixel is at (0, 0), so the image starts at -0.5.
    svg = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="-.5 -.5 {width} {height}" fill="none" '
        f'stroke-dasharray="{dashes}" stroke-linecap="round" stroke-linejoin="round">'
        f'<defs><path id="a" vector-effect="non-scaling-stroke" d="{path}"/></defs>'
        f'<use href="#a" stroke="rgb{HALO}" stroke-width="3.5"/>'
        f'<use href="#a" stroke="rgb{color}" stroke-width="2"/></svg>'
    )
    return _uri("svg+xml", svg.encode())


def _to_path(points: np.ndarray) -> str:
    """Converts (N, 2) corners of a polygon to an SVG path of relative steps, which are shorter."""
    steps = np.diff(points, axis=0, append=points[:1])
    return f"M{points[0, 0]} {points[0, 1]}l{' '.join(map(str, steps.ravel()))}z"


def _resize(image: np.ndarray, interpolation: int) -> np.ndarray:
    """Resizes an image to `MAX_SIZE`, but enlarges it at most twice."""
    height, width = image.shape[:2]
    zoom = min(2.0, MAX_SIZE / max(height, width))
    size = max(1, round(width * zoom)), max(1, round(height * zoom))
    return cv2.resize(image, size, interpolation=interpolation)


def _jpeg(image: np.ndarray) -> str:
    """Returns a JPEG of at most `MAX_SIZE`. Small images keep their size; browsers enlarge them."""
    if max(image.shape[:2]) > MAX_SIZE:
        image = _resize(image, cv2.INTER_AREA)
    quality = [cv2.IMWRITE_JPEG_QUALITY, 80]
    return _uri("jpeg", cv2.imencode(".jpg", image[..., ::-1], quality)[1].tobytes())


def _png(indices: np.ndarray, colors: Sequence[tuple[int, int, int, int]]) -> str:
    """Returns a PNG with a palette: index 0 is transparent, the RGBA colors start at index 1."""
    palette = [(0, 0, 0, 0), *colors]
    picture = Image.fromarray(indices, "P")
    picture.putpalette([value for color in palette for value in color[:3]])
    file = io.BytesIO()
    alphas = bytes(color[3] for color in palette)
    picture.save(file, "PNG", transparency=alphas, bits=4, optimize=True)
    return _uri("png", file.getvalue())


def _uri(kind: str, data: bytes) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(data).decode()}"
