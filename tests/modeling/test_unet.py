import pytest
import torch
from torch import nn

from dsb2018.engine import Trainer
from dsb2018.modeling.unet import UNetNetwork
from tests.configs import CONFIGS, load_cfg


def count_layers(model, kind):
    return sum(type(module) is kind for module in model.modules())


@pytest.mark.parametrize(("config", "outputs"), [("unet", 2), ("unet_border", 3)])
def test_unet_of_the_paper(config, outputs):
    cfg = load_cfg(CONFIGS / f"unet/{config}.yaml")
    model = Trainer.build_model(cfg)
    assert count_layers(model, nn.Conv2d) == 19
    assert count_layers(model, nn.ConvTranspose2d) == 4
    assert count_layers(model, nn.MaxPool2d) == 1  # used four times
    assert model.size_divisibility == 16
    assert model.network.predictor.out_channels == outputs
    assert 1.9e6 < sum(p.numel() for p in model.parameters()) < 2e6
    assert isinstance(Trainer.build_optimizer(cfg, model), torch.optim.Adam)


def test_sizes_and_channels_of_all_levels():
    network = UNetNetwork(3, 2, width=4, depth=3, norm="")
    shapes = []
    for block in (*network.down, *network.join):
        block.register_forward_hook(lambda m, i, o: shapes.append(tuple(o.shape[1:])))
    assert network(torch.randn(1, 3, 16, 24)).shape == (1, 2, 16, 24)
    down = [(4, 16, 24), (8, 8, 12), (16, 4, 6), (32, 2, 3)]
    assert shapes == down + down[-2::-1]


def test_skip_connections_carry_full_resolution():
    torch.manual_seed(0)
    network = UNetNetwork(1, 1, width=8, depth=2, norm="").eval()
    for up in network.up:  # only the first skip connection contributes to the output
        nn.init.zeros_(up.weight)
        nn.init.zeros_(up.bias)
    black = torch.zeros(1, 1, 16, 16)
    dot = black.clone()
    dot[0, 0, 5, 5] = 1
    with torch.no_grad():
        changed = (network(black) != network(dot))[0, 0]
    assert changed[5, 5]
    rows, columns = torch.nonzero(changed, as_tuple=True)
    assert 1 <= rows.min() <= rows.max() <= 9  # four convolutions of 3×3 reach 4 pixels
    assert 1 <= columns.min() <= columns.max() <= 9


def test_convolutions_without_norm_have_a_bias():
    convolutions = [m for m in UNetNetwork(3, 2, norm="").modules() if isinstance(m, nn.Conv2d)]
    assert all(m.bias is not None for m in convolutions)
    convolutions = [m for m in UNetNetwork(3, 2, norm="BN").modules() if isinstance(m, nn.Conv2d)]
    assert [m.bias is not None for m in convolutions] == [False] * 18 + [True]
