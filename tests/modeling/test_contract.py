"""What every model must keep, whatever it is."""

import pytest
import torch
from detectron2.utils.events import EventStorage

from dsb2018.engine import Trainer
from tests.configs import FAMILIES, small_cfg
from tests.samples import training_sample


@pytest.fixture(scope="module", params=FAMILIES)
def family(request):
    return request.param


@pytest.fixture(scope="module")
def model(family):
    torch.manual_seed(0)
    return Trainer.build_model(small_cfg(family=family))


def losses_of(model, samples):
    model.train()
    with EventStorage():
        return model(samples)


def outputs_of(model, inputs):
    model.eval()
    with torch.no_grad():
        return model(inputs)


def test_losses_are_named_finite_and_have_gradients(model):
    losses = losses_of(model, [training_sample(), training_sample(96, 64)])
    assert losses
    assert all(name.startswith("loss_") for name in losses)
    total = sum(losses.values())
    assert torch.isfinite(total)
    model.zero_grad()
    total.backward()
    assert all(p.grad is not None for p in model.parameters() if p.requires_grad)


def test_an_image_without_nuclei_has_losses(model):
    losses = losses_of(model, [training_sample(nuclei=False)])
    assert torch.isfinite(sum(losses.values()))


@pytest.mark.parametrize(("height", "width"), [(67, 93), (64, 64), (31, 200)])
@pytest.mark.parametrize("zoom", [1, 2])
def test_output_has_the_images_own_size(model, height, width, zoom):
    # The image was zoomed for the model: what comes out is as large as the file.
    image = torch.randint(0, 255, (3, zoom * height, zoom * width), dtype=torch.uint8)
    (output,) = outputs_of(model, [{"image": image, "height": height, "width": width}])
    assert output["sem_seg"].shape == (2, height, width)
    assert output["sem_seg"].dtype == torch.float32
    instances = output["instances"]
    assert instances.image_size == (height, width)
    assert instances.pred_masks.shape == (len(instances), height, width)
    assert instances.pred_masks.dtype == torch.bool
    assert instances.pred_boxes.tensor.shape == (len(instances), 4)
    assert ((instances.scores >= 0) & (instances.scores <= 1)).all()
    assert (instances.scores.diff() <= 0).all()  # the best first
    assert not instances.pred_classes.any()


def test_without_a_size_the_input_is_the_size(model):
    image = torch.randint(0, 255, (3, 40, 56), dtype=torch.uint8)
    (output,) = outputs_of(model, [{"image": image}])
    assert output["sem_seg"].shape == (2, 40, 56)


def test_a_batch_gives_what_its_images_give_alone(model):
    torch.manual_seed(1)
    images = torch.randint(0, 255, (2, 3, 64, 96), dtype=torch.uint8)
    inputs = [{"image": image, "height": 64, "width": 96} for image in images]
    together = outputs_of(model, inputs)
    alone = [outputs_of(model, [each])[0] for each in inputs]
    for one, other in zip(together, alone, strict=True):
        torch.testing.assert_close(one["sem_seg"], other["sem_seg"], rtol=1e-3, atol=1e-3)


def test_images_of_different_sizes_can_be_in_one_batch(model):
    inputs = [{"image": torch.zeros(3, size, 96, dtype=torch.uint8)} for size in (64, 96)]
    sizes = [output["sem_seg"].shape[1:] for output in outputs_of(model, inputs)]
    assert sizes == [(64, 96), (96, 96)]


def test_the_memory_layout_changes_no_number(model, family):
    inputs = [{"image": torch.randint(0, 255, (3, 64, 96), dtype=torch.uint8)}]
    plain = Trainer.build_model(small_cfg("MODEL.CHANNELS_LAST", False, family=family))
    plain.load_state_dict(model.state_dict())
    one, other = (outputs_of(each, inputs)[0]["sem_seg"] for each in (model, plain))
    torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-3)
    images = model.preprocess_image(inputs).tensor
    assert images.is_contiguous(memory_format=torch.channels_last)
    assert plain.preprocess_image(inputs).tensor.is_contiguous()


@pytest.mark.gpu
def test_on_a_gpu(family):
    model = Trainer.build_model(small_cfg("MODEL.DEVICE", "cuda", family=family))
    for dtype in (torch.float32, torch.bfloat16, torch.float16):
        with torch.autocast("cuda", dtype, enabled=dtype != torch.float32):
            total = sum(losses_of(model, [training_sample()]).values())
            (output,) = outputs_of(model, [{"image": training_sample()["image"]}])
        total.backward()
        assert torch.isfinite(total)
        assert output["sem_seg"].shape == (2, 67, 93)
