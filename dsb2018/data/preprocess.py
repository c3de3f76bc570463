"""From the pixels of an image to a trained model's input: contrast stretch and test-time zoom."""

from collections.abc import Iterable

import numpy as np
import torch
from detectron2.data import transforms as T

from dsb2018.data.augmentation import ZoomToLimit
from dsb2018.structures.contrast import GreyRange, find_range


class Preprocessing:
    """Prepares images of any microscope as the config says, in evaluation and in prediction."""

    def __init__(self, cfg):
        """
        Args:
            cfg: its `INPUT` keys are used.
        """
        self._stretch_percent = cfg.INPUT.STRETCH_PERCENT if cfg.INPUT.STRETCH else None
        self._channel_order = cfg.INPUT.FORMAT
        self._zoom = ZoomToLimit(cfg.INPUT.ZOOM_TEST, cfg.INPUT.MAX_SIZE_TEST)

    def grey_range(self, windows: Iterable[np.ndarray]) -> GreyRange:
        """The grey values that become 0 and 255.

        Args:
            windows: parts of one image, (h, w, C) of one real dtype; see `find_range`.

        Raises:
            ValueError: no pixels, or pixels that are NaN or infinite.
        """
        if self._stretch_percent is not None:
            return find_range(windows, self._stretch_percent)
        dtype = next(iter(windows)).dtype
        if dtype.kind == "u":
            return GreyRange(0, np.iinfo(dtype).max)
        return find_range(windows, 0.0)

    @staticmethod
    def to_rgb(window: np.ndarray, grey_range: GreyRange) -> np.ndarray:
        """(h, w, 1 or 3) of any real dtype → (h, w, 3) uint8 RGB."""
        grey = grey_range.apply(window)
        return np.repeat(grey, 3, axis=2) if grey.shape[2] == 1 else grey

    def __call__(self, image: np.ndarray) -> np.ndarray:
        """A whole image: (H, W, 1 or 3) of any real dtype → (H, W, 3) uint8 RGB."""
        return self.to_rgb(image, self.grey_range([image]))

    def model_input(self, image: np.ndarray) -> dict:
        """A model's input.

        Args:
            image: (H, W, 3) uint8 RGB, its contrast stretched.

        Returns:
            `image`: (3, H', W') uint8 tensor in the model's channel order, zoomed; `height` and
            `width`: H and W, the size of the output.
        """
        height, width = image.shape[:2]
        if self._channel_order == "BGR":
            image = image[..., ::-1]
        inputs = T.AugInput(np.ascontiguousarray(image))
        self._zoom(inputs)
        return {"image": to_tensor(inputs.image), "height": height, "width": width}


def to_tensor(image: np.ndarray) -> torch.Tensor:
    """(H, W, C) array → (C, H, W) tensor."""
    return torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1)))
