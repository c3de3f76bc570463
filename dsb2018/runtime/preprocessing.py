"""Converts images to the input of a trained model: contrast stretch and test-time zoom."""

from collections.abc import Iterable

import numpy as np

from dsb2018.runtime.model_spec import ModelSpec
from dsb2018.structures.contrast import GreyRange, find_range
from dsb2018.structures.scale import limit_zoom, resize_by


class Preprocessing:
    """Preprocesses microscopy images for a model, in evaluation and in prediction."""

    def __init__(self, spec: ModelSpec):
        """
        Args:
            spec: specification of the model.
        """
        self._spec = spec

    def grey_range(self, windows: Iterable[np.ndarray]) -> GreyRange:
        """Returns the gray values that are mapped to 0 and 255.

        Args:
            windows: parts of one image, (h, w, C) arrays of one real dtype; see `find_range`.

        Raises:
            ValueError: the image has no pixels, or pixels that are NaN or infinite.
        """
        return find_range(windows, self._spec.stretch_percent)

    def __call__(self, image: np.ndarray) -> np.ndarray:
        """Converts a (H, W, 1 or 3) image of any real dtype to (H, W, 3) uint8 RGB."""
        return self.grey_range([image]).to_rgb(image)

    def model_input(self, image: np.ndarray) -> dict:
        """Returns the input of the model for an image.

        Args:
            image: (H, W, 3) uint8 RGB, after the contrast stretch.

        Returns:
            A dict with `image`, the zoomed (3, H', W') uint8 array in the channel order of the
            model, and with `height` and `width`, the output size H and W.
        """
        height, width = image.shape[:2]
        if self._spec.channel_order == "BGR":
            image = image[..., ::-1]
        image = resize_by(image, limit_zoom(self._spec.zoom, (height, width), self._spec.max_size))
        pixels = np.ascontiguousarray(image.transpose(2, 0, 1))
        return {"image": pixels, "height": height, "width": width}
