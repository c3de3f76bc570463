"""What every model must keep, on Mask R-CNN."""

import numpy as np
import pytest
import torch
from detectron2.structures import Instances
from detectron2.utils.events import EventStorage

from dsb2018.data.mapper import labels_to_instances
from dsb2018.engine import Trainer
from dsb2018.modeling.rcnn import union_of_masks
from tests.configs import small_cfg


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    return Trainer.build_model(small_cfg())


def training_sample(height=67, width=93):
    labels = np.zeros((1, height, width), np.uint8)
    labels[0, 5:20, 5:25], labels[0, 30:50, 40:60] = 1, 2
    image = torch.randint(0, 255, (3, height, width), dtype=torch.uint8)
    return {"image": image, "instances": labels_to_instances(labels)}


def test_losses_are_named_finite_and_have_gradients(model):
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
    total = sum(losses.values())
    assert torch.isfinite(total)
    total.backward()
    assert all(p.grad is not None for p in model.parameters() if p.requires_grad)


def test_an_image_without_nuclei_has_losses(model):
    model.train()
    empty = training_sample()
    empty["instances"] = labels_to_instances(np.zeros((1, 67, 93), np.uint8))
    with EventStorage():
        losses = model([empty])
    assert torch.isfinite(sum(losses.values()))
    assert losses["loss_mask"] == 0


@pytest.mark.parametrize(("height", "width"), [(67, 93), (64, 64), (31, 200)])
def test_output_has_the_images_own_size(model, height, width):
    model.eval()
    # The image was zoomed for the model: what comes out is as large as the file.
    image = torch.randint(0, 255, (3, 2 * height, 2 * width), dtype=torch.uint8)
    with torch.no_grad():
        (output,) = model([{"image": image, "height": height, "width": width}])
    assert output["sem_seg"].shape == (2, height, width)
    instances = output["instances"]
    assert instances.pred_masks.shape == (len(instances), height, width)
    assert instances.pred_masks.dtype == torch.bool
    assert ((instances.scores >= 0) & (instances.scores <= 1)).all()


def test_a_batch_gives_what_its_images_give_alone(model):
    model.eval()
    inputs = [
        {
            "image": torch.randint(0, 255, (3, size, 96), dtype=torch.uint8),
            "height": size,
            "width": 96,
        }
        for size in (64, 96)
    ]
    with torch.no_grad():
        together = model(inputs)
        alone = [model([each])[0] for each in inputs]
    # The smaller image is padded in the batch, so a box at the edge may move a little.
    for one, other in zip(together, alone, strict=True):
        assert one["sem_seg"].shape == other["sem_seg"].shape
        assert (one["sem_seg"] != other["sem_seg"]).float().mean() < 0.05


def test_the_memory_layout_changes_no_number(model):
    model.eval()
    inputs = [{"image": torch.randint(0, 255, (3, 64, 96), dtype=torch.uint8)}]
    plain = Trainer.build_model(small_cfg("MODEL.CHANNELS_LAST", False)).eval()
    plain.load_state_dict(model.state_dict())
    with torch.no_grad():
        one, other = (m.backbone(m.preprocess_image(inputs).tensor)["p2"] for m in (model, plain))
    torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-3)
    assert model.preprocess_image(inputs).tensor.is_contiguous(memory_format=torch.channels_last)


def test_semantic_map_is_the_union_of_the_sure_instances():
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
