import cv2
import numpy as np
import pytest

from dsb2018.prepare.sample import LOOKS, draw_image, write_sample
from dsb2018.prepare.source import open_source


@pytest.mark.parametrize("look", LOOKS)
def test_images_and_masks_have_the_form_of_dsb(look):
    image, masks = draw_image(look, np.random.default_rng(5))
    assert (image.shape, image.dtype) == ((256, 256, 4), np.uint8)
    assert (image[..., 3] == 255).all()
    assert len(masks) >= 8
    assert all(mask.sum() >= 40 for mask in masks)
    assert np.sum(masks, axis=0).max() == 1
    nuclei = np.any(masks, axis=0)
    grey = cv2.cvtColor(image[..., :3], cv2.COLOR_BGR2GRAY).astype(float)
    contrast = grey[nuclei].mean() - grey[~nuclei].mean()
    assert (contrast > 10) if look == "fluorescence" else (contrast < -10)


def test_some_nuclei_touch_and_some_are_dim():
    image, masks = draw_image("fluorescence", np.random.default_rng(5))
    labels = np.sum([mask * number for number, mask in enumerate(masks, 1)], axis=0)
    grown = cv2.dilate(labels.astype(np.uint16), np.ones((3, 3)))
    assert ((grown != labels) & (labels > 0)).any()
    means = [image[..., 0][mask].mean() for mask in masks]
    assert max(means) > 2 * min(means)


def test_the_same_seed_gives_the_same_files(tmp_path):
    samples = [write_sample(tmp_path / str(n), seed=s) for n, s in enumerate((1, 1, 2))]
    first, again, other = (open_source(sample.images) for sample in samples)
    assert first.entries() == again.entries()
    assert len(first.entries()) == 32
    names = [name for entry in first.entries() for name in (*entry.images, *entry.masks)]
    assert all(first.read(name) == again.read(name) for name in names)
    image = first.entries()[0].images[0]
    assert first.read(image) != other.read(image)
