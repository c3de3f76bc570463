"""Detectron2 evaluators that write an image for each prediction."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from detectron2.evaluation import DatasetEvaluator

from dsb2018.draw import side_by_side
from dsb2018.images.pixels import read_picture
from dsb2018.io.files import write_atomically
from dsb2018.io.names import image_file_name
from dsb2018.io.png import encode_png
from dsb2018.structures.ground_truth import has_ground_truth, read_label_layers
from dsb2018.structures.instances import read_output
from dsb2018.structures.nuclei import Nuclei


class ImageWriter(DatasetEvaluator):
    """Writes `<image>.png` for each selected image; subclasses implement `draw`."""

    def __init__(self, folder: Path, image_ids: set[int], score_thresh: float = 0.5):
        """
        Args:
            folder: output folder.
            image_ids: ids of the selected images.
            score_thresh: of the outputs of Detectron2's models, 0 to 1; see `read_output`.
        """
        self._folder, self._image_ids, self._score_thresh = folder, image_ids, score_thresh

    def process(self, inputs: list[dict], outputs: list) -> None:
        """Writes the selected images of a batch."""
        for sample, output in zip(inputs, outputs, strict=True):
            if sample["image_id"] in self._image_ids:
                pixels = self.draw(sample, read_output(output, self._score_thresh).nuclei)
                write_atomically(
                    self._folder / f"{image_file_name(sample)}.png", encode_png(pixels)
                )

    def evaluate(self) -> None:
        """Returns no scores."""

    def draw(self, sample: Mapping, nuclei: Nuclei) -> np.ndarray:
        """Returns the pixels to write, see `encode_png`."""
        raise NotImplementedError


class LabelWriter(ImageWriter):
    """Writes label images of the predicted nuclei, 16 bits, 0 is background."""

    def draw(self, sample: Mapping, nuclei: Nuclei) -> np.ndarray:
        """See `ImageWriter.draw`."""
        return nuclei.labels.astype(np.uint16)


class OverlayWriter(ImageWriter):
    """Writes the image, the true nuclei if they are known, and the predicted nuclei."""

    def draw(self, sample: Mapping, nuclei: Nuclei) -> np.ndarray:
        """See `ImageWriter.draw`."""
        ground_truth = read_label_layers(sample) if has_ground_truth(sample) else None
        return side_by_side(read_picture(sample), ground_truth, nuclei.labels)
