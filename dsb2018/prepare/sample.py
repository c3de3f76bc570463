"""Draws a synthetic dataset in the layout of DSB data, for the demo and the tests.

The images imitate three modalities and contain what makes segmentation hard: touching and dim
nuclei, uneven illumination, blur and noise.
"""

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from dsb2018.io.files import make_empty_folder, write_atomically

SIZE = 256  # height and width of every image, pixels
COUNTS = {"sample_train": 24, "sample_val": 8}
MODALITIES = ("fluorescence", "histology", "brightfield")


@dataclass(frozen=True)
class Sample:
    """Paths of a synthetic dataset.

    Args:
        images: DSB folder.
        splits: folder of id lists.
        modality: `modality.csv`.
    """

    images: Path
    splits: Path
    modality: Path


def write_sample(folder: Path, seed: int = 0) -> Sample:
    """Writes 24 training and 8 validation images of 256×256 pixels.

    The same seed gives the same files. The `stage1_train` of an earlier call is replaced.

    Raises:
        ValueError: the folder has a `stage1_train` that this function did not create.
    """
    sample = Sample(folder / "stage1_train", folder / "splits", folder / "modality.csv")
    make_empty_folder(sample.images)
    rows = ["image_id,modality,group"]
    for offset, (split, count) in enumerate(COUNTS.items()):
        ids = [f"{split}_{number:02d}" for number in range(count)]
        for number, image_id in enumerate(ids):
            modality = MODALITIES[number % len(MODALITIES)]
            image, masks = draw_image(modality, np.random.default_rng([seed, offset, number]))
            _write_image(sample.images / image_id, image_id, image, masks)
            rows.append(f"{image_id},{modality},{image_id}")
        write_atomically(sample.splits / f"{split}.txt", "\n".join(ids) + "\n")
    write_atomically(sample.modality, "\n".join(rows) + "\n")
    return sample


def _write_image(folder: Path, image_id: str, image: np.ndarray, masks: list[np.ndarray]) -> None:
    for name in ("images", "masks"):
        (folder / name).mkdir(parents=True)
    cv2.imwrite(str(folder / "images" / f"{image_id}.png"), image)
    for number, mask in enumerate(masks):
        cv2.imwrite(str(folder / "masks" / f"{number:04d}.png"), mask.astype(np.uint8) * 255)


def draw_image(modality: str, rng: np.random.Generator) -> tuple[np.ndarray, list[np.ndarray]]:
    """Draws one image.

    Args:
        modality: one of `MODALITIES`.
        rng: random number generator.

    Returns:
        The image, (256, 256, 4) uint8 BGRA as in DSB2018; and the masks of its nuclei, each
        (256, 256) bool, not empty and without overlaps.
    """
    masks = _draw_nuclei(rng)
    renderers = {
        "fluorescence": _render_fluorescence,
        "histology": _render_histology,
        "brightfield": _render_brightfield,
    }
    color = renderers[modality](masks, rng)
    color = np.clip(color * 255, 0, 255).astype(np.uint8)
    return np.dstack([color, np.full((SIZE, SIZE), 255, np.uint8)]), masks


def _draw_nuclei(rng: np.random.Generator) -> list[np.ndarray]:
    """Draws ellipses with a radius of 5 to 16 pixels; about a third touch an earlier one."""
    occupied = np.zeros((SIZE, SIZE), bool)
    masks, centers = [], []
    for _ in range(rng.integers(15, 40)):
        radius = rng.uniform(5, 16)
        center = rng.uniform(0, SIZE, 2)
        if centers and rng.random() < 0.35:
            (x, y), neighbor_radius = centers[rng.integers(len(centers))]
            angle = rng.uniform(0, 2 * np.pi)
            direction = np.array([np.cos(angle), np.sin(angle)])
            center = np.array([x, y]) + (neighbor_radius + radius) * direction
        axes = radius * rng.uniform(0.75, 1.25, 2)
        canvas = np.zeros((SIZE, SIZE), np.uint8)
        box = (center.tolist(), (2 * axes).tolist(), float(rng.uniform(0, 180)))
        cv2.ellipse(canvas, box, 1, thickness=-1)
        area = int(canvas.sum())
        mask = canvas.astype(bool) & ~occupied
        # An annotator could not outline a nucleus that is small or mostly hidden by others.
        if area and mask.sum() >= max(40, 0.8 * area):
            masks.append(mask)
            centers.append((center, radius))
            occupied |= mask
    return masks


def _noise(rng: np.random.Generator, scale: float) -> np.ndarray:
    """Returns smooth noise, (SIZE, SIZE), mean 0 and standard deviation 1.

    Args:
        rng: random number generator.
        scale: standard deviation of the Gaussian blur, pixels.
    """
    noise = cv2.GaussianBlur(rng.normal(size=(SIZE, SIZE)), (0, 0), scale)
    return (noise - noise.mean()) / noise.std()


def _illumination(rng: np.random.Generator) -> np.ndarray:
    """Returns uneven illumination, (SIZE, SIZE), mean 1."""
    return 1 + 0.12 * _noise(rng, 60)


def _stain(masks: list[np.ndarray], rng: np.random.Generator, low: float) -> np.ndarray:
    """Returns the strength of the stain, (SIZE, SIZE): `low` to 1 by nucleus, 0 in background."""
    stain = np.zeros((SIZE, SIZE))
    for mask in masks:
        stain[mask] = rng.uniform(low, 1)
    return cv2.GaussianBlur(stain * (1 + 0.1 * _noise(rng, 2)), (0, 0), 0.8)


def _render_fluorescence(masks: list[np.ndarray], rng: np.random.Generator) -> np.ndarray:
    stain = _stain(masks, rng, 0.25)
    signal = rng.uniform(0.35, 0.8) * stain * _illumination(rng)
    gray = 0.05 + signal + 0.02 * rng.normal(size=stain.shape)
    return np.dstack([gray] * 3)


def _render_histology(masks: list[np.ndarray], rng: np.random.Generator) -> np.ndarray:
    """Renders purple nuclei on pink tissue; light is absorbed as in the Beer-Lambert law."""
    nuclei = _stain(masks, rng, 0.45)
    tissue = np.clip(0.35 + 0.15 * _noise(rng, 8), 0, 1)
    nuclei_absorption = np.array([0.45, 1.3, 0.95])  # blue, green, red
    tissue_absorption = np.array([0.25, 0.75, 0.1])
    density = nuclei[..., None] * nuclei_absorption + tissue[..., None] * tissue_absorption
    light = _illumination(rng)[..., None] * 0.95
    return light * np.exp(-density) + 0.015 * rng.normal(size=density.shape)


def _render_brightfield(masks: list[np.ndarray], rng: np.random.Generator) -> np.ndarray:
    """Renders dark nuclei with darker rims on a bright, slightly uneven background."""
    stain = _stain(masks, rng, 0.5)
    rim = np.zeros((SIZE, SIZE))
    kernel = np.ones((3, 3), np.uint8)
    for mask in masks:
        rim[mask & ~cv2.erode(mask.astype(np.uint8), kernel).astype(bool)] = 1
    gray = 0.85 * _illumination(rng) - 0.35 * stain - 0.2 * cv2.GaussianBlur(rim, (0, 0), 0.8)
    return np.dstack([gray + 0.02 * rng.normal(size=gray.shape)] * 3)
