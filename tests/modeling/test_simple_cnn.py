import torch
from torch import nn

from dsb2018.engine import Trainer
from tests.configs import CONFIGS, load_cfg


def test_layers_of_the_paper():
    model = Trainer.build_model(load_cfg(CONFIGS / "simple_cnn/simple_cnn.yaml"))
    kinds = [type(module) for module in model.network]
    assert kinds == [nn.BatchNorm2d, *[nn.Conv2d, nn.ReLU] * 6]
    assert type(model.predictor) is nn.Conv2d
    assert all(m.kernel_size == (3, 3) for m in model.modules() if isinstance(m, nn.Conv2d))


def test_receptive_field_is_15_pixels():
    model = Trainer.build_model(load_cfg(CONFIGS / "simple_cnn/simple_cnn.yaml")).eval()
    image = torch.randn(1, 3, 31, 31, requires_grad=True)
    model.maps(image)[0, 1, 15, 15].backward()
    rows, columns = torch.nonzero(image.grad[0].abs().sum(dim=0), as_tuple=True)
    assert (rows.min(), rows.max()) == (8, 22)
    assert (columns.min(), columns.max()) == (8, 22)
