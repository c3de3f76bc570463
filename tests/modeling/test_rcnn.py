"""Mask R-CNN for nuclei. The contract of all models is tested in test_contract."""

import pytest
import torch
from detectron2.structures import Instances
from detectron2.utils.events import EventStorage

from dsb2018.engine import Trainer
from dsb2018.modeling.rcnn import union_of_masks
from tests.configs import small_cfg
from tests.samples import training_sample


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    return Trainer.build_model(small_cfg())


def test_losses(model):
    model.train()
    with EventStorage():
        losses = model([training_sample(), training_sample(96, 64)])
    assert set(losses) == {
        "loss_rpn_cls",
        "loss_rpn_loc",
        "loss_cls",
        "loss_box_reg",
        "loss_mask",
    }
    with EventStorage():
        assert model([training_sample(nuclei=False)])["loss_mask"] == 0


def test_semantic_map_is_the_union_of_confident_instances():
    instances = Instances((2, 3))
    instances.scores = torch.tensor([0.9, 0.2])
    instances.pred_masks = torch.tensor(
        [[[1, 0, 0], [1, 0, 0]], [[0, 0, 1], [0, 0, 1]]], dtype=torch.bool
    )
    expected = torch.tensor([[1.0, 0, 0], [1, 0, 0]])
    torch.testing.assert_close(union_of_masks(instances, 0.5)[1], expected)
    torch.testing.assert_close(union_of_masks(instances, 0.5)[0], 1 - expected)
    torch.testing.assert_close(union_of_masks(instances, 0.95)[1], torch.zeros(2, 3))


def test_scores_stay_in_float32_under_autocast(model):
    model.eval()
    inputs = [{"image": torch.randint(0, 255, (3, 128, 128), dtype=torch.uint8)}]
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        assert model.backbone(model.preprocess_image(inputs).tensor)["p2"].dtype == torch.bfloat16
        (output,) = model(inputs)
    scores = output["instances"].scores
    assert scores.dtype == torch.float32
    assert len(scores) > 20
    assert (scores.bfloat16().float() != scores).float().mean() > 0.5  # finer than bfloat16
