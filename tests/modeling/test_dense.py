"""Losses and nuclei of dense models. The contract of all models is tested in test_contract."""

import math

import numpy as np
import pytest
import torch

from dsb2018.data.targets import UNKNOWN
from dsb2018.modeling.dense import OFFSET_UNIT, DenseModel, read_maps
from dsb2018.modeling.losses import LOSSES, cross_entropy_loss
from dsb2018.runtime.postprocess import InstanceOptions

ARGUMENTS = {
    "border_weight": 10.0,
    "instance_options": InstanceOptions(),
    "max_instances": 1000,
    "pixel_mean": [127.5] * 3,
    "pixel_std": [127.5] * 3,
    "channels_last": False,
}


class FixedMaps(DenseModel):
    """A model that returns fixed maps, padding included."""

    def __init__(self, maps, losses=("iou",), separation="none", **kwargs):
        super().__init__(losses=list(losses), separation=separation, **{**ARGUMENTS, **kwargs})
        self.fixed_maps = maps

    size_divisibility = 8

    def maps(self, images):
        assert images.shape[-2:] == self.fixed_maps.shape[-2:]
        return self.fixed_maps


def random_sample(height, width):
    rng = torch.Generator().manual_seed(height)
    return {
        "image": torch.zeros(3, height, width, dtype=torch.uint8),
        "sem_seg": torch.randint(0, 2, (height, width), generator=rng),
        "interior": torch.rand(height, width, generator=rng),
    }


def test_losses_ignore_padding():
    samples = [random_sample(5, 8), random_sample(8, 6)]
    maps = torch.randn(2, 3, 8, 8)
    maps[0, :, 5:], maps[1, :, :, 6:] = 1e4, -1e4
    model = FixedMaps(maps, LOSSES, "distance").train()
    losses = model(samples)
    nucleus = maps[:, 1] - maps[:, 0]
    logits = torch.cat([nucleus[0, :5].flatten(), nucleus[1, :, :6].flatten()])
    target = torch.cat([sample["sem_seg"].float().flatten() for sample in samples])
    assert set(losses) == {"loss_iou", "loss_dice", "loss_cross_entropy", "loss_interior"}
    for name, loss in LOSSES.items():
        torch.testing.assert_close(losses[f"loss_{name}"], loss(logits, target))
    logits = torch.cat([maps[0, 2, :5].flatten(), maps[1, 2, :, :6].flatten()])
    interior = torch.cat([sample["interior"].flatten() for sample in samples])
    torch.testing.assert_close(losses["loss_interior"], cross_entropy_loss(logits, interior))


def test_border_weight():
    """One of four pixels is border, one background. Interior probabilities are 1/2 and 3/4."""
    training_sample = {
        "image": torch.zeros(3, 1, 4, dtype=torch.uint8),
        "sem_seg": torch.tensor([[1, 1, 1, 0]]),
        "interior": torch.tensor([[1.0, 1.0, 0.0, 0.0]]),
    }
    maps = torch.zeros(1, 3, 8, 8)  # padded
    maps[0, 2, 0, 2] = math.log(3)
    model = FixedMaps(maps, separation="border", border_weight=5).train()
    loss = model([training_sample])["loss_interior"]
    expected = (3 * -math.log(1 / 2) + 5 * -math.log(1 / 4)) / (3 + 5)
    assert loss.item() == pytest.approx(expected)


def test_images_without_single_nuclei_teach_the_foreground_only():
    known, unknown = random_sample(8, 8), random_sample(8, 8)
    unknown["interior"] = torch.full((8, 8), UNKNOWN)
    maps = torch.randn(2, 3, 8, 8, requires_grad=True)
    losses = FixedMaps(maps, LOSSES, "distance").train()([known, unknown])
    expected = cross_entropy_loss(maps[0, 2].flatten(), known["interior"].flatten())
    torch.testing.assert_close(losses["loss_interior"], expected)
    sum(losses.values()).backward()
    assert maps.grad[1, :2].abs().sum() > 0
    assert maps.grad[1, 2].abs().sum() == 0
    losses = FixedMaps(maps, LOSSES, "distance").train()([unknown, unknown])
    assert losses["loss_interior"] == 0  # not NaN


def test_probability_is_sigmoid_of_logit_difference():
    maps = torch.randn(5, 5, 7)
    nucleus, interior, offsets = read_maps(maps)
    np.testing.assert_allclose(nucleus, maps[:2].softmax(dim=0)[1], rtol=1e-5)
    np.testing.assert_allclose(interior, maps[2].sigmoid(), rtol=1e-5)
    np.testing.assert_allclose(offsets, OFFSET_UNIT * maps[3:], rtol=1e-5)
    assert read_maps(maps[:3])[2] is None
    assert read_maps(maps[:2])[1] is None


def test_nuclei_ignore_padding():
    maps = torch.zeros(1, 2, 8, 8)
    maps[0, 1] = -5
    maps[0, 1, 1:4, 2:5] = 5
    maps[0, 1, :, 6:] = 5  # padding
    (output,) = FixedMaps(maps).eval()([{**random_sample(8, 6), "height": 8, "width": 6}])
    assert len(output["instances"]) == 1
    np.testing.assert_array_equal(output["instances"].pred_boxes.tensor, [[2, 1, 5, 4]])
    torch.testing.assert_close(output["sem_seg"], maps[0, :, :, :6])


def test_images_are_normalized_and_padded_with_gray():
    model = FixedMaps(torch.zeros(1, 2, 8, 8))
    image = torch.full((3, 5, 8), 255, dtype=torch.uint8)
    batch = model.preprocess_image([{"image": image}]).tensor
    assert batch.shape == (1, 3, 8, 8)
    assert (batch[0, :, :5] == 1).all()
    assert not batch[0, :, 5:].any()


def test_unknown_losses_and_separations_raise():
    with pytest.raises(ValueError, match="MODEL.DENSE.LOSSES"):
        FixedMaps(None, ["focal"])
    with pytest.raises(ValueError, match="SEPARATION 'star', expected one of"):
        FixedMaps(None, separation="star")


class Lopsided(DenseModel):
    """A model whose maps depend on the neighbor below and to the right of each pixel."""

    size_divisibility = 8

    def maps(self, images):
        below, right = images.roll(-1, 2)[:, :1], images.roll(-1, 3)[:, :1]
        return torch.cat([0 * below, below + 2 * right, below, 1 + below, 2 + right], dim=1)


@pytest.mark.parametrize("axes", [(1,), (2,), (1, 2)])
def test_averaged_flips_do_not_depend_on_the_orientation(axes):
    arguments = {"losses": ["iou"], "separation": "centers", **ARGUMENTS}
    image = torch.randint(0, 255, (3, 16, 24), dtype=torch.uint8)
    inputs = [{"image": image}, {"image": image.flip(axes)}]
    plain, flipped = Lopsided(**arguments).eval().logits(inputs)
    assert not torch.allclose(plain.flip(axes), flipped)
    first, second = Lopsided(**arguments, average_flips=True).eval().logits(inputs)
    expected = first.flip(axes)
    for axis in axes:
        expected[2 + axis] *= -1
    torch.testing.assert_close(second, expected)
    # The constant parts of the offsets cancel out, because each is taken once in each direction.
    assert first[3:].mean().abs() < 0.1 < plain[3:].mean()
    gray = (image[0].float() - 127.5) / 127.5
    neighbors = (gray.roll(-1, 0) + gray.roll(1, 0)) / 2
    torch.testing.assert_close(first[2], neighbors)
