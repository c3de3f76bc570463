import copy

import numpy as np
import pytest
import torch
from detectron2.data import DatasetCatalog
from detectron2.utils.events import EventStorage

from dsb2018.engine import Trainer
from dsb2018.engine.validation import validation_losses
from tests.configs import small_cfg

NAMES = ("dsb2018_sample_val",)


@pytest.mark.parametrize("family", ["unet/unet_border", "unet/unet_light", "mask_rcnn/lite0_FPN"])
def test_losses_are_repeatable_and_model_is_unchanged(registered, family):
    cfg = small_cfg("SOLVER.IMS_PER_BATCH", 3, family=family)
    model = Trainer.build_model(cfg).train()
    before = copy.deepcopy(model.state_dict())
    with EventStorage() as storage:
        np.random.seed(1)
        first = validation_losses(cfg, model, NAMES)
        np.random.seed(2)
        second = validation_losses(cfg, model, NAMES)
    assert first == second
    assert first["total_loss"] == pytest.approx(sum(first.values()) / 2)
    assert model.training
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert not storage.latest()


class Brightness(torch.nn.Module):
    """A model with known losses: mean gray value and fraction of nucleus pixels."""

    def forward(self, batch):
        images = torch.stack([sample["image"].float().mean() for sample in batch])
        nuclei = torch.stack([sample["sem_seg"].float().mean() for sample in batch])
        return {"loss_gray": images.mean(), "loss_nuclei": nuclei.mean()}


@pytest.mark.parametrize("batch_size", [1, 3, 100])
def test_every_image_counts_once(registered, batch_size):
    cfg = small_cfg("SOLVER.IMS_PER_BATCH", batch_size, "INPUT.ZOOM_TRAIN", [1.0, 1.0])
    cfg.INPUT.CROP_TRAIN = 4096  # the whole image
    losses = validation_losses(cfg, Brightness(), NAMES)
    label_layers = [np.load(item["label_file"]) for item in DatasetCatalog.get(NAMES[0])]
    fractions = [(layers > 0).any(axis=0).mean() for layers in label_layers]
    assert losses["loss_nuclei"] == pytest.approx(np.mean(fractions), rel=1e-5)
