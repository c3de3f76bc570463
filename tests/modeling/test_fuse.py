import pytest
import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from dsb2018.modeling.fuse import fuse_conv_bn
from dsb2018.modeling.timm_backbone import TimmBackbone


def randomize_norms(model: nn.Module) -> nn.Module:
    """Sets random scales, shifts and statistics, and evaluation mode."""
    for module in model.modules():
        if isinstance(module, _BatchNorm):
            for values in (module.weight.data, module.bias.data, module.running_mean):
                values.uniform_(0.5, 1.5)
            module.running_var.uniform_(0.5, 2)
    return model.eval()


def count_norms(model: nn.Module) -> int:
    return sum(isinstance(module, _BatchNorm) for module in model.modules())


IMAGE = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))


class UnnormalizedOutput(nn.Module):
    """The output of the convolution is also used without the normalization."""

    def __init__(self):
        super().__init__()
        self.convolution, self.norm = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        x = self.convolution(image)
        return x + self.norm(x)


class SharedConvolution(nn.Module):
    """One convolution is used twice, with two normalizations."""

    def __init__(self):
        super().__init__()
        self.convolution = nn.Conv2d(3, 3, 1)
        self.norms = nn.ModuleList(nn.BatchNorm2d(3) for _ in range(2))

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return self.norms[1](self.convolution(self.norms[0](self.convolution(image))))


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_fused_model_has_no_norms_and_equal_output(layout):
    torch.manual_seed(0)
    model = randomize_norms(TimmBackbone("efficientnet_lite0", [2, 4, 8, 16]))
    model = model.to(memory_format=layout)

    def run(model: nn.Module) -> torch.Tensor:
        return torch.cat([level.flatten() for level in model(IMAGE).values()])

    before = run(model)
    fused = fuse_conv_bn(model, run)
    assert count_norms(fused) == 0 < count_norms(model)
    assert torch.allclose(run(fused), before, rtol=1e-3, atol=1e-3)
    assert torch.equal(run(model), before)  # the model itself is not fused


@pytest.mark.parametrize("kind", [UnnormalizedOutput, SharedConvolution])
def test_models_that_cannot_be_fused_are_unchanged(kind):
    torch.manual_seed(0)
    model = randomize_norms(kind())
    fused = fuse_conv_bn(model, lambda network: network(IMAGE))
    assert count_norms(fused) == count_norms(model)
    assert torch.equal(fused(IMAGE), model(IMAGE))
