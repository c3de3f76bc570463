"""A dense network as other programs need it: its output is probabilities and distances."""

import torch
from torch import nn

from dsb2018.modeling.dense import DenseModel
from dsb2018.runtime.postprocess import OFFSET_UNIT


class Probabilities(nn.Module):
    """The network of a dense model, from normalized images to maps that need no explanation.

    The input is (N, 3, H, W) float32 RGB, or (N, 1, H, W) gray. The outputs are

    - (N, 1 or 2, H, W) probabilities, 0 to 1: of a nucleus, and of the interior of a nucleus, which
      is low where two nuclei touch, if the model has this map;
    - (N, 2, H, W) vectors from each pixel to the center of its nucleus, downwards and to the right,
      pixels, if the model has these maps.
    """

    def __init__(self, model: DenseModel, channel_order: str):
        """
        Args:
            model: the model, with its weights.
            channel_order: of its input, "RGB" or "BGR".
        """
        super().__init__()
        self.model = model
        self._reverses = channel_order == "BGR"

    def forward(self, image: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """See the class."""
        image = image.expand(-1, 3, -1, -1)
        if self._reverses:
            image = image.flip(1)
        logits = self.model.maps(image).float()
        nucleus = torch.sigmoid(logits[:, 1:2] - logits[:, :1])
        if logits.shape[1] == 2:
            return (nucleus,)
        probabilities = torch.cat([nucleus, torch.sigmoid(logits[:, 2:3])], dim=1)
        if logits.shape[1] == 3:
            return (probabilities,)
        return probabilities, OFFSET_UNIT * logits[:, 3:]
