"""Converts images to the input of a trained model: contrast stretch and test-time zoom."""

from collections.abc import Iterable

import numpy as np
import torch
from detectron2.data import transforms as T

from dsb2018.data.augmentation import ZoomToLimit
from dsb2018.structures.contrast import GreyRange, find_range


class Preprocessing:
    """Preprocesses microscopy images for a model, in evaluation and in prediction."""

    def __init__(self, cfg):
        """
        Args:
            cfg: config of the model, whose `INPUT` keys are used.
        """
        self._stretch_percent = cfg.INPUT.STRETCH_PERCENT if cfg.INPUT.STRETCH else None
        self._channel_order = cfg.INPUT.FORMAT
        self._zoom = ZoomToLimit(cfg.INPUT.ZOOM_TEST, cfg.INPUT.MAX_SIZE_TEST)

    def grey_range(self, windows: Iterable[np.ndarray]) -> GreyRange:
        """Returns the gray values that are mapped to 0 and 255.

        Args:
            windows: parts of one image, (h, w, C) arrays of one real dtype; see `find_range`.

        Raises:
            ValueError: the image has no pixels, or pixels that are NaN or infinite.
        """
        return find_range(windows, self._stretch_percent)

    def __call__(self, image: np.ndarray) -> np.ndarray:
        """Converts a (H, W, 1 or 3) image of any real dtype to (H, W, 3) uint8 RGB."""
        return self.grey_range([image]).to_rgb(image)

    def model_input(self, image: np.ndarray) -> dict:
        """Returns the input of the model for an image.

        Args:
            image: (H, W, 3) uint8 RGB, after the contrast stretch.

        Returns:
            A dict with `image`, the zoomed (3, H', W') uint8 tensor in the channel order of the
            model, and with `height` and `width`, the output size H and W.
        """
        height, width = image.shape[:2]
        if self._channel_order == "BGR":
            image = image[..., ::-1]
        inputs = T.AugInput(np.ascontiguousarray(image))
        self._zoom(inputs)
        return {"image": to_tensor(inputs.image), "height": height, "width": width}


def to_tensor(image: np.ndarray) -> torch.Tensor:
    """Converts a (H, W, C) array to a (C, H, W) tensor."""
    return torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1)))
