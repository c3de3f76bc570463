"""Runs a model at the scale for which it was trained.

Nuclei are 8 to 100 pixels wide, depending on the magnification. A model with `INPUT.DIAMETER` is
trained on images that are scaled so that their nuclei have this diameter, and processes images in
the same way. The diameter of the nuclei is known, or it is estimated from a first pass.
"""

from collections.abc import Callable, Sequence

import numpy as np

from dsb2018.structures.nuclei import Prediction
from dsb2018.structures.scale import limit_zoom, resize_by, zoom_for

PASSES = 3  # maximum number of passes for one image, the final one included
TOLERANCE = 1.15  # ratio of zooms up to which another pass would change little

Model = Callable[[list[dict]], list[Prediction]]


class ScaledModel:
    """A model that brings the nuclei of each image to one diameter.

    Inputs and predictions are those of `TrainedModel`. `image` has the scale of the image file. An
    input may have `zoom`, see `zoom_for`; else it is found by `search`.
    """

    def __init__(self, model: Model, diameter: float, max_size: int):
        """
        Args:
            model: processes images at any scale.
            diameter: of the nuclei that the model is made for, pixels.
            max_size: maximum length of the longest edge of an image that is enlarged as a whole,
                pixels.
        """
        self._model, self._diameter, self._max_size = model, diameter, max_size

    def __getattr__(self, name: str):
        """Returns an attribute of the model, such as `parameter_count`."""
        return getattr(self._model, name)

    def __call__(self, batched_inputs: list[dict]) -> list[Prediction]:
        """Returns the nuclei of each image, at the size of the image."""
        predictions: list[Prediction] = []
        for sample in batched_inputs:
            found = None
            if "zoom" not in sample:
                zoom, found = self.search([sample])
                sample = {**sample, "zoom": zoom}
            predictions += found or self._model([self._resized(sample)])
        return predictions

    def predict_maps(self, batched_inputs: list[dict]) -> list:
        """Returns the maps of each image at the scale of the model, see `TrainedModel`."""
        samples = [
            sample if "zoom" in sample else {**sample, "zoom": self.search([sample])[0]}
            for sample in batched_inputs
        ]
        return [
            self._model.predict_maps([self._resized(sample)])[0]  # type: ignore[attr-defined]
            for sample in samples
        ]

    def zoom_for(self, diameter: float) -> float:
        """Returns the zoom for nuclei of a known diameter in pixels."""
        return zoom_for(diameter, self._diameter)

    def search(self, samples: Sequence[dict]) -> tuple[float, list[Prediction] | None]:
        """Finds the zoom of an image by the median diameter of the nuclei that the model finds.

        Args:
            samples: the image, or several parts of a large one.

        Returns:
            The zoom, and the predictions for the samples if they were made with this zoom.
        """
        zoom = 1.0
        for _ in range(PASSES - 1):
            predictions = [
                self._model([self._resized({**sample, "zoom": zoom})])[0] for sample in samples
            ]
            diameter = measure_diameter(predictions)
            better = self.zoom_for(diameter) if diameter else zoom
            if max(better / zoom, zoom / better) <= TOLERANCE:
                return zoom, predictions
            zoom = better
        return zoom, None

    def _resized(self, sample: dict) -> dict:
        """Returns the input of the model: a sample whose image is zoomed by its `zoom`."""
        pixels = np.asarray(sample["image"]).transpose(1, 2, 0)
        height, width = pixels.shape[:2]
        pixels = resize_by(pixels, limit_zoom(sample["zoom"], (height, width), self._max_size))
        image = np.ascontiguousarray(pixels.transpose(2, 0, 1))
        return {"height": height, "width": width, **sample, "image": image}


def measure_diameter(predictions: Sequence[Prediction]) -> float:
    """Returns the median diameter of all nuclei in pixels of the image; 0 without nuclei."""
    areas = np.concatenate([prediction.nuclei.areas for prediction in predictions])
    return float(np.median(2 * np.sqrt(areas / np.pi))) if len(areas) else 0.0
