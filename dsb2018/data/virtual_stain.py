"""Fluorescence images that are rendered as stained tissue, as training images."""

import cv2
import numpy as np
from detectron2.data import transforms as T
from fvcore.transforms.transform import Transform

from dsb2018.structures.labels import distance_to_background

# Optical density of the stains in red, green and blue, after Ruifrok and Johnston (2001).
HEMATOXYLIN = np.array([0.65, 0.70, 0.29], np.float32)
EOSIN = np.array([0.07, 0.99, 0.11], np.float32)
DAB = np.array([0.27, 0.57, 0.78], np.float32)


class RandomVirtualStain(T.Augmentation):
    """Renders a fluorescence image as stained tissue in bright field.

    The brightness of the nuclei becomes the amount of a stain, which absorbs light after the law of
    Beer and Lambert. The stain is hematoxylin, DAB, or a different one of the two for each nucleus.
    A second stain, which the cytoplasm takes up unevenly, and a tinted background are added. The
    cytoplasm is a haze around the nuclei, or it has edges, as the cells of a smear have. Brown
    cytoplasm can be darker than the nuclei, as it is in immunohistochemistry. Some results are
    gray. Images with bright-field contrast or colors are not changed.

    Args:
        probability: probability that an image is rendered, 0 to 1.
    """

    def __init__(self, probability: float):
        super().__init__()
        self._init({"probability": probability})

    def get_transform(self, image: np.ndarray, sem_seg: np.ndarray) -> Transform:
        """Draws stains for a (H, W, 3) uint8 image and its (H, W[, L]) labels."""
        if np.random.rand() >= self.probability or not _is_fluorescence(image, sem_seg):
            return T.NoOpTransform()
        seed = np.random.randint(2**31 - 1)
        labels = sem_seg.max(axis=2) if sem_seg.ndim == 3 else sem_seg
        return T.ColorTransform(lambda img: _render(img, labels, np.random.default_rng(seed)))


def _is_fluorescence(image: np.ndarray, labels: np.ndarray) -> bool:
    """Whether an image has gray nuclei that are brighter than their background."""
    inside = labels.reshape(*image.shape[:2], -1).any(axis=2)
    if not inside.any() or inside.all():
        return False
    small = image[::4, ::4].astype(np.int16)
    is_gray = np.abs(small - small[..., :1]).mean() < 4
    gray = image[..., 1]
    return bool(is_gray and gray[inside].mean() > gray[~inside].mean() + 15)


def _render(image: np.ndarray, labels: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Returns the stained image, (H, W, 3) uint8."""
    height, width = image.shape[:2]
    amount = (image[..., 1].astype(np.float32) / 255) ** random.uniform(0.4, 1.0)
    chromatin = 1 + random.uniform(0, 0.25) * _clouds(height, width, 2, random)
    amount *= chromatin * random.uniform(0.7, 2.0)
    second = random.choice(3, p=[0.5, 0.2, 0.3])  # stain of the cytoplasm
    brown_share = 0 if second == 2 else random.choice([0, 0, 0.3, 1])  # of the nuclei
    is_brown = random.random(int(labels.max()) + 1) < brown_share
    stain = np.where(is_brown[labels][..., None], _vary(DAB, random), _vary(HEMATOXYLIN, random))
    cytoplasm = (_haze if random.random() < 0.6 else _cells)(labels > 0, random)
    uneven = 0.5 + 0.5 * _texture(height, width, random)
    strength = random.uniform(0, 1.5 if second == 2 else 0.8)
    around = strength * (cytoplasm + random.uniform(0, 1)) * uneven.clip(0)
    if second == 2:  # brown cytoplasm surrounds the nuclei
        around *= np.where(labels > 0, random.uniform(0, 1), 1).astype(np.float32)
    other = _vary((EOSIN, HEMATOXYLIN, DAB)[second], random)
    density = amount[..., None] * stain + around[..., None] * other
    if random.random() < 0.25:
        density[:] = density.mean(axis=2, keepdims=True)
    background = random.uniform(0.75, 1.0, 3) if random.random() < 0.5 else random.uniform(0.85, 1)
    return np.rint(255 * background * np.exp(-density)).astype(np.uint8)


def _haze(nuclei: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Returns (H, W) float32 from 0 to 1, which falls with the distance to a nucleus."""
    return cv2.GaussianBlur(nuclei.astype(np.float32), (0, 0), random.uniform(3, 12))


def _cells(nuclei: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Returns (H, W) float32: 1 in cells around the nuclei, 0 outside, with uneven edges."""
    distance = distance_to_background(~nuclei)
    reach, softness = random.uniform(6, 50), random.uniform(0.5, 4)
    height, width = nuclei.shape
    uneven = 0.4 * reach * _clouds(height, width, 20, random)
    return 1 / (1 + np.exp(((distance + uneven - reach) / softness).clip(-30, 30)))


def _vary(stain: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Returns a stain of a slightly different color."""
    return stain * random.uniform(0.8, 1.2, 3).astype(np.float32)


def _texture(height: int, width: int, random: np.random.Generator) -> np.ndarray:
    """Returns (H, W) float32 noise from about -1 to 1, of fine, medium and coarse spots."""
    shares = random.dirichlet([0.5, 1, 1])
    return 1.5 * sum(
        share * _clouds(height, width, cell, random)
        for share, cell in zip(shares, (3, 12, 40), strict=True)
    )


def _clouds(height: int, width: int, cell: int, random: np.random.Generator) -> np.ndarray:
    """Returns (H, W) float32 smooth noise from -1 to 1 with spots about `cell` pixels wide."""
    coarse = random.uniform(-1, 1, (height // cell + 2, width // cell + 2)).astype(np.float32)
    return cv2.resize(coarse, (width, height), interpolation=cv2.INTER_LINEAR)
