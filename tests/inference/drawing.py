"""Images and label images for the tests of inference."""

import cv2
import numpy as np

from dsb2018.structures.nuclei import Nuclei


def draw_discs(size=(300, 400), count=60, radius=(4, 12), seed=0) -> np.ndarray:
    """Returns (H, W) int32 labels of discs that do not touch. Some are cut by the image border."""
    rng = np.random.default_rng(seed)
    labels, number = np.zeros(size, np.int32), 0
    for _ in range(count):
        r = int(rng.integers(*radius))
        y, x = int(rng.integers(0, size[0])), int(rng.integers(0, size[1]))
        disc = cv2.circle(np.zeros(size, np.uint8), (x, y), r, 1, -1) > 0
        near = cv2.dilate(disc.astype(np.uint8), np.ones((3, 3), np.uint8)) > 0
        if not labels[near].any():
            number += 1
            labels[disc] = number
    return labels


def find_bright(images) -> list[Nuclei]:
    """Replaces a model: the connected components of bright pixels are the nuclei."""
    predictions = []
    for image in images:
        bright = (image[..., 0] > 100).astype(np.uint8)
        labels = cv2.connectedComponents(bright, connectivity=8)[1]
        predictions.append(Nuclei.from_labels(labels, np.ones(labels.max(initial=0))))
    return predictions


def same_nuclei(a: np.ndarray, b: np.ndarray) -> bool:
    """Returns whether two label images have the same nuclei; their labels may differ."""
    pairs = np.unique(np.stack([a.ravel(), b.ravel()]), axis=1)
    return all(len(np.unique(labels)) == pairs.shape[1] for labels in pairs) and bool(
        ((a > 0) == (b > 0)).all()
    )


def micrograph(size=(256, 256), seed=0) -> tuple[np.ndarray, np.ndarray]:
    """Returns a (H, W) uint8 image of bright nuclei on a dark background, and their labels."""
    labels = draw_discs(size, count=size[0] * size[1] // 2000, radius=(7, 13), seed=seed)
    rng = np.random.default_rng(seed)
    image = 20 + 90.0 * (labels > 0) + rng.normal(0, 3, size)
    return cv2.GaussianBlur(image, (0, 0), 1).clip(0, 255).astype(np.uint8), labels
