import cv2
import numpy as np
import pytest

from dsb2018.prepare.forms import open_form
from dsb2018.prepare.sample import MODALITIES, draw_image, write_sample


@pytest.mark.parametrize("modality", MODALITIES)
def test_shapes_dtypes_and_contrast(modality):
    image, masks = draw_image(modality, np.random.default_rng(5))
    assert (image.shape, image.dtype) == ((256, 256, 4), np.uint8)
    assert (image[..., 3] == 255).all()
    assert len(masks) >= 8
    assert all(mask.sum() >= 40 for mask in masks)
    assert np.sum(masks, axis=0).max() == 1
    nuclei = np.any(masks, axis=0)
    gray = cv2.cvtColor(image[..., :3], cv2.COLOR_BGR2GRAY).astype(float)
    contrast = gray[nuclei].mean() - gray[~nuclei].mean()
    assert (contrast > 10) if modality == "fluorescence" else (contrast < -10)


def test_some_nuclei_touch_and_some_are_dim():
    image, masks = draw_image("fluorescence", np.random.default_rng(5))
    labels = np.sum([mask * number for number, mask in enumerate(masks, 1)], axis=0)
    dilated = cv2.dilate(labels.astype(np.uint16), np.ones((3, 3)))
    assert ((dilated != labels) & (labels > 0)).any()
    means = [image[..., 0][mask].mean() for mask in masks]
    assert max(means) > 2 * min(means)


def test_same_seed_gives_the_same_files(tmp_path):
    samples = [write_sample(tmp_path / str(n), seed=seed) for n, seed in enumerate((1, 1, 2))]
    forms = [open_form(sample.images) for sample in samples]
    first, second, other_seed = (form.files for form in forms)
    images, _ = forms[0].list_images()
    assert forms[1].list_images() == (images, [])
    assert len(images) == 32
    names = [name for image in images for name in (*image.image_files, *image.truth)]
    assert all(first.read(name) == second.read(name) for name in names)
    name = images[0].image_files[0]
    assert first.read(name) != other_seed.read(name)
