"""The simple convolutional network of the paper."""

import torch
from detectron2.config import configurable
from detectron2.modeling import META_ARCH_REGISTRY
from torch import nn

from dsb2018.modeling.dense import DenseModel


@META_ARCH_REGISTRY.register()
class SimpleCNN(DenseModel):
    """Batch normalization, convolutions with ReLU at full resolution, and a sigmoid output.

    The paper describes "6 fully connected dense layers" between a batch normalization of the input
    and a two-dimensional convolution as output. A layer that is fully connected over all pixels
    would fix the size of the image and have billions of weights. The layers are therefore
    implemented as 3×3 convolutions, which are fully connected over the channels. The receptive
    field of an output pixel is 15 × 15 pixels.
    """

    @configurable
    def __init__(self, *, width: int, depth: int, **kwargs):
        """
        Args:
            width: number of channels of each convolution.
            depth: number of convolutions before the output.
            **kwargs: see `DenseModel`.
        """
        super().__init__(**kwargs)
        layers: list[nn.Module] = [nn.BatchNorm2d(3)]
        channels = 3
        for _ in range(depth):
            conv = nn.Conv2d(channels, width, 3, padding=1)
            # With torch's default weights, activations shrink in each layer without normalization.
            nn.init.kaiming_normal_(conv.weight, nonlinearity="relu")
            nn.init.zeros_(conv.bias)
            layers += [conv, nn.ReLU(inplace=True)]
            channels = width
        self.network = nn.Sequential(*layers)
        self.predictor = nn.Conv2d(channels, self.map_count, 3, padding=1)
        if self.channels_last:
            self.to(memory_format=torch.channels_last)

    @classmethod
    def from_config(cls, cfg) -> dict:
        """Returns the arguments of the constructor for a config."""
        return {
            **super().from_config(cfg),
            "width": cfg.MODEL.SIMPLE_CNN.WIDTH,
            "depth": cfg.MODEL.SIMPLE_CNN.DEPTH,
        }

    def maps(self, images: torch.Tensor) -> torch.Tensor:
        """See `DenseModel.maps`."""
        return self.predictor(self.network(images))
