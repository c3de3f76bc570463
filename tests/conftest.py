"""Shared fixtures: DSB folders with synthetic images, and the prepared synthetic dataset."""

import logging
import os
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from hypothesis import settings

from dsb2018 import compat

compat.require_detectron2()

from dsb2018.data import register_dsb2018, unregister_dsb2018  # noqa: E402
from dsb2018.prepare import Options, prepare  # noqa: E402
from dsb2018.prepare.sample import write_sample  # noqa: E402

PROJECT = Path(__file__).resolve().parents[1]
REAL_DATA = Path(os.environ.get("DSB2018_REAL_DATA", PROJECT.parent / "shared" / "dsb2018"))

# No deadline, because machines may be slow. In CI every run checks the same examples.
settings.register_profile("project", deadline=None, derandomize=bool(os.environ.get("CI")))
settings.load_profile("project")

os.environ.pop("PYTHONUNBUFFERED", None)  # processes write to pipes as those of users do
torch.set_num_threads(1)  # the tests run in several processes
cv2.setNumThreads(1)


@pytest.fixture(autouse=True)
def without_log_handlers():
    """Closes the logs of a training that ran in this process. They print to the standard output of
    the test, so that in the next tests every message would be an error."""
    yield
    for name in ("dsb2018", "detectron2", "fvcore"):
        logger = logging.getLogger(name)
        for handler in list(logger.handlers):
            logger.removeHandler(handler)
        logger.setLevel(logging.NOTSET)
        logger.propagate = True


def pytest_collection_modifyitems(config, items):
    for item in items:
        if "gpu" in item.keywords and not torch.cuda.is_available():
            item.add_marker(pytest.mark.skip(reason="no CUDA device"))


@pytest.fixture
def project() -> Path:
    """The root of the repository."""
    return PROJECT


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of the real DSB2018 data. The test is skipped if there is none."""
    if not (REAL_DATA / "stage1_train").is_dir():
        pytest.skip(f"no real data at {REAL_DATA} (set DSB2018_REAL_DATA)")
    return REAL_DATA


class DsbFolder:
    """Writes images and masks in the layout of DSB data."""

    def __init__(self, root: Path):
        self.root = root
        root.mkdir(parents=True, exist_ok=True)

    def add(self, image_id: str, masks: list[np.ndarray], image: np.ndarray | None = None) -> Path:
        """Adds an image and its masks, (H, W) arrays in which nuclei are non-zero.

        Returns:
            The folder of the image.
        """
        if image is None:
            size = masks[0].shape if masks else (24, 32)
            image = np.random.default_rng(0).integers(0, 255, (*size, 4), np.uint8)
        folder = self.root / image_id
        for name in ("images", "masks"):
            (folder / name).mkdir(parents=True)
        cv2.imwrite(str(folder / "images" / f"{image_id}.png"), image)
        for number, mask in enumerate(masks):
            self.add_mask(image_id, number, (mask > 0).astype(np.uint8) * 255)
        return folder

    def add_mask(self, image_id: str, number: int, pixels: np.ndarray) -> Path:
        """Writes an array to a mask file without changes; returns its path."""
        path = self.root / image_id / "masks" / f"{number:03d}.png"
        cv2.imwrite(str(path), pixels)
        return path


@pytest.fixture
def dsb(tmp_path) -> DsbFolder:
    """An empty DSB folder, to which tests add images."""
    return DsbFolder(tmp_path / "stage1_train")


def rectangle(top: int, left: int, bottom: int, right: int, shape=(24, 32)) -> np.ndarray:
    """Returns a (H, W) bool mask of a filled rectangle."""
    mask = np.zeros(shape, bool)
    mask[top:bottom, left:right] = True
    return mask


@pytest.fixture(scope="session")
def sample_root(tmp_path_factory) -> Path:
    """The prepared root of the synthetic dataset."""
    root = tmp_path_factory.mktemp("sample") / "dsb2018"
    sample = write_sample(root / "sample")
    prepare(
        Options(
            input=sample.images,
            output=root,
            splits=sample.splits,
            modality=sample.modality,
            workers=1,
            progress=False,
        )
    )
    return root


@pytest.fixture
def registered(sample_root):
    """The prepared root of the synthetic dataset, which is registered during the test."""
    unregister_dsb2018()
    try:
        register_dsb2018(sample_root)
        yield sample_root
    finally:
        unregister_dsb2018()
