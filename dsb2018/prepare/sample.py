"""A synthetic set in DSB form: three looks of microscopy, with what makes nuclei hard to tell
apart: touching and dim ones, uneven light, blur and noise. For the demo and the tests."""

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from dsb2018.io.files import make_empty_folder, write_atomically

SIZE = 256  # pixels, height and width of every image
COUNTS = {"sample_train": 24, "sample_val": 8}
LOOKS = ("fluorescence", "histology", "brightfield")


@dataclass(frozen=True)
class Sample:
    """Where a sample was written: its DSB folder, its id lists and its modality.csv."""

    images: Path
    splits: Path
    modality: Path


def write_sample(folder: Path, seed: int = 0) -> Sample:
    """Writes 24 training and 8 validation images of 256×256 pixels.

    The same seed gives the same files. A `stage1_train` of an earlier call is replaced.

    Raises:
        ValueError: the folder has a `stage1_train` that this function did not make.
    """
    sample = Sample(folder / "stage1_train", folder / "splits", folder / "modality.csv")
    make_empty_folder(sample.images)
    rows = ["image_id,modality,group"]
    for offset, (split, count) in enumerate(COUNTS.items()):
        ids = [f"{split}_{number:02d}" for number in range(count)]
        for number, image_id in enumerate(ids):
            look = LOOKS[number % len(LOOKS)]
            image, masks = draw_image(look, np.random.default_rng([seed, offset, number]))
            _write_image(sample.images / image_id, image_id, image, masks)
            rows.append(f"{image_id},{look},{image_id}")
        write_atomically(sample.splits / f"{split}.txt", "\n".join(ids) + "\n")
    write_atomically(sample.modality, "\n".join(rows) + "\n")
    return sample


def _write_image(folder: Path, image_id: str, image: np.ndarray, masks: list[np.ndarray]) -> None:
    for name in ("images", "masks"):
        (folder / name).mkdir(parents=True)
    cv2.imwrite(str(folder / "images" / f"{image_id}.png"), image)
    for number, mask in enumerate(masks):
        cv2.imwrite(str(folder / "masks" / f"{number:04d}.png"), mask.astype(np.uint8) * 255)


def draw_image(look: str, rng: np.random.Generator) -> tuple[np.ndarray, list[np.ndarray]]:
    """Draws one image.

    Args:
        look: one of `LOOKS`.
        rng: the source of all randomness.

    Returns:
        (256, 256, 4) uint8 BGRA, as DSB2018's images are; and the nuclei, each (256, 256) bool,
        none empty, no pixel in two.
    """
    masks = _draw_nuclei(rng)
    painter = {"fluorescence": _fluorescence, "histology": _histology, "brightfield": _brightfield}
    color = painter[look](masks, rng)
    color = np.clip(color * 255, 0, 255).astype(np.uint8)
    return np.dstack([color, np.full((SIZE, SIZE), 255, np.uint8)]), masks


def _draw_nuclei(rng: np.random.Generator) -> list[np.ndarray]:
    """Ellipses of 5 to 16 pixels radius, a third of them laid against an earlier one."""
    taken = np.zeros((SIZE, SIZE), bool)
    masks, centers = [], []
    for _ in range(rng.integers(15, 40)):
        radius = rng.uniform(5, 16)
        center = rng.uniform(0, SIZE, 2)
        if centers and rng.random() < 0.35:
            (x, y), other = centers[rng.integers(len(centers))]
            angle = rng.uniform(0, 2 * np.pi)
            center = np.array([x, y]) + (other + radius) * np.array([np.cos(angle), np.sin(angle)])
        axes = radius * rng.uniform(0.75, 1.25, 2)
        canvas = np.zeros((SIZE, SIZE), np.uint8)
        box = (center.tolist(), (2 * axes).tolist(), float(rng.uniform(0, 180)))
        cv2.ellipse(canvas, box, 1, thickness=-1)
        whole = int(canvas.sum())
        mask = canvas.astype(bool) & ~taken
        # What is mostly hidden by others would be no nucleus that anyone could outline.
        if whole and mask.sum() >= max(40, 0.8 * whole):
            masks.append(mask)
            centers.append((center, radius))
            taken |= mask
    return masks


def _noise(rng: np.random.Generator, scale: float) -> np.ndarray:
    """(SIZE, SIZE) smooth noise, mean 0 and deviation 1; `scale` is its grain in pixels."""
    noise = cv2.GaussianBlur(rng.normal(size=(SIZE, SIZE)), (0, 0), scale)
    return (noise - noise.mean()) / noise.std()


def _light(rng: np.random.Generator) -> np.ndarray:
    """(SIZE, SIZE) uneven light around 1."""
    return 1 + 0.12 * _noise(rng, 60)


def _intensity(masks: list[np.ndarray], rng: np.random.Generator, low: float) -> np.ndarray:
    """(SIZE, SIZE) how strongly each nucleus is stained: `low` (dim) to 1, 0 outside."""
    stain = np.zeros((SIZE, SIZE))
    for mask in masks:
        stain[mask] = rng.uniform(low, 1)
    return cv2.GaussianBlur(stain * (1 + 0.1 * _noise(rng, 2)), (0, 0), 0.8)


def _fluorescence(masks: list[np.ndarray], rng: np.random.Generator) -> np.ndarray:
    stain = _intensity(masks, rng, 0.25)
    grey = 0.05 + rng.uniform(0.35, 0.8) * stain * _light(rng) + 0.02 * rng.normal(size=stain.shape)
    return np.dstack([grey] * 3)


def _histology(masks: list[np.ndarray], rng: np.random.Generator) -> np.ndarray:
    """Purple nuclei on pink tissue, by absorption: each stain takes its share of the light."""
    nuclei = _intensity(masks, rng, 0.45)
    tissue = np.clip(0.35 + 0.15 * _noise(rng, 8), 0, 1)
    absorbed_by_nuclei = np.array([0.45, 1.3, 0.95])  # blue, green, red
    absorbed_by_tissue = np.array([0.25, 0.75, 0.1])
    density = nuclei[..., None] * absorbed_by_nuclei + tissue[..., None] * absorbed_by_tissue
    light = _light(rng)[..., None] * 0.95
    return light * np.exp(-density) + 0.015 * rng.normal(size=density.shape)


def _brightfield(masks: list[np.ndarray], rng: np.random.Generator) -> np.ndarray:
    """Dark nuclei with darker rims on a bright, slightly uneven background."""
    stain = _intensity(masks, rng, 0.5)
    rim = np.zeros((SIZE, SIZE))
    kernel = np.ones((3, 3), np.uint8)
    for mask in masks:
        rim[mask & ~cv2.erode(mask.astype(np.uint8), kernel).astype(bool)] = 1
    grey = 0.85 * _light(rng) - 0.35 * stain - 0.2 * cv2.GaussianBlur(rim, (0, 0), 0.8)
    return np.dstack([grey + 0.02 * rng.normal(size=grey.shape)] * 3)
