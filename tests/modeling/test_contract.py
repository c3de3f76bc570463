"""The contract that all models fulfill."""

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


def compute_losses(model, samples):
    model.train()
    with EventStorage():
        return model(samples)


def predict(model, inputs):
    model.eval()
    with torch.no_grad():
        return model(inputs)


def assert_nearly_equal(maps, expected):
    """All but 1 in 1000 pixels agree: a mask of random weights has pixels at its threshold."""
    close = torch.isclose(maps, expected, rtol=1e-3, atol=1e-3)
    assert close.float().mean() > 0.999


def test_losses_are_named_finite_and_have_gradients(model):
    losses = compute_losses(model, [training_sample(), training_sample(96, 64)])
    assert losses
    assert all(name.startswith("loss_") for name in losses)
    total = sum(losses.values())
    assert torch.isfinite(total)
    model.zero_grad()
    total.backward()
    assert all(p.grad is not None for p in model.parameters() if p.requires_grad)


def test_image_without_nuclei_has_losses(model):
    losses = compute_losses(model, [training_sample(nuclei=False)])
    assert torch.isfinite(sum(losses.values()))


@pytest.mark.parametrize(("height", "width"), [(67, 93), (64, 64), (31, 200)])
@pytest.mark.parametrize("zoom", [1, 2])
def test_output_size_is_the_requested_size(model, height, width, zoom):
    # The model gets a zoomed image, but the output has the size of the file.
    image = torch.randint(0, 255, (3, zoom * height, zoom * width), dtype=torch.uint8)
    (output,) = predict(model, [{"image": image, "height": height, "width": width}])
    assert output["sem_seg"].shape == (2, height, width)
    assert output["sem_seg"].dtype == torch.float32
    instances = output["instances"]
    assert instances.image_size == (height, width)
    assert instances.pred_masks.shape == (len(instances), height, width)
    assert instances.pred_masks.dtype == torch.bool
    assert instances.pred_boxes.tensor.shape == (len(instances), 4)
    assert ((instances.scores >= 0) & (instances.scores <= 1)).all()
    assert (instances.scores.diff() <= 0).all()  # sorted by score
    assert not instances.pred_classes.any()


def test_default_output_size_is_the_input_size(model):
    image = torch.randint(0, 255, (3, 40, 56), dtype=torch.uint8)
    (output,) = predict(model, [{"image": image}])
    assert output["sem_seg"].shape == (2, 40, 56)


def test_batch_and_single_images_give_equal_outputs(model):
    torch.manual_seed(1)
    images = torch.randint(0, 255, (2, 3, 64, 96), dtype=torch.uint8)
    inputs = [{"image": image, "height": 64, "width": 96} for image in images]
    batch_outputs = predict(model, inputs)
    single_outputs = [predict(model, [sample])[0] for sample in inputs]
    for batch, single in zip(batch_outputs, single_outputs, strict=True):
        assert_nearly_equal(batch["sem_seg"], single["sem_seg"])


def test_batch_of_different_image_sizes(model):
    inputs = [{"image": torch.zeros(3, size, 96, dtype=torch.uint8)} for size in (64, 96)]
    sizes = [output["sem_seg"].shape[1:] for output in predict(model, inputs)]
    assert sizes == [(64, 96), (96, 96)]


def test_memory_layout_does_not_change_the_output(model, family):
    inputs = [{"image": torch.randint(0, 255, (3, 64, 96), dtype=torch.uint8)}]
    channels_first = Trainer.build_model(small_cfg("MODEL.CHANNELS_LAST", False, family=family))
    channels_first.load_state_dict(model.state_dict())
    nhwc, nchw = (predict(network, inputs)[0]["sem_seg"] for network in (model, channels_first))
    assert_nearly_equal(nhwc, nchw)
    images = model.preprocess_image(inputs).tensor
    assert images.is_contiguous(memory_format=torch.channels_last)
    assert channels_first.preprocess_image(inputs).tensor.is_contiguous()


@pytest.mark.gpu
def test_training_and_inference_on_gpu(family):
    model = Trainer.build_model(small_cfg("MODEL.DEVICE", "cuda", family=family))
    for dtype in (torch.float32, torch.bfloat16, torch.float16):
        with torch.autocast("cuda", dtype, enabled=dtype != torch.float32):
            total = sum(compute_losses(model, [training_sample()]).values())
            (output,) = predict(model, [{"image": training_sample()["image"]}])
        total.backward()
        assert torch.isfinite(total)
        assert output["sem_seg"].shape == (2, 67, 93)
