"""A Detectron2 evaluator that writes label images of the predictions."""

from pathlib import Path

import cv2
import numpy as np
from detectron2.evaluation import DatasetEvaluator

from dsb2018.io.files import write_atomically
from dsb2018.io.names import image_file_name
from dsb2018.structures.instances import read_output


class LabelWriter(DatasetEvaluator):
    """Writes `<image>.png`: a label image of the predicted nuclei, 16 bits, 0 is background."""

    def __init__(self, folder: Path, image_ids: set[int], score_thresh: float = 0.5):
        """
        Args:
            folder: output folder.
            image_ids: ids of the images to write.
            score_thresh: instances with a lower score are left out, 0 to 1.
        """
        self._folder, self._image_ids, self._score_thresh = folder, image_ids, score_thresh

    def process(self, inputs: list[dict], outputs: list) -> None:
        """Writes the label images of a batch."""
        for sample, output in zip(inputs, outputs, strict=True):
            if sample["image_id"] in self._image_ids:
                labels = read_output(output, self._score_thresh).nuclei.labels
                name = f"{image_file_name(sample)}.png"
                png = cv2.imencode(".png", labels.astype(np.uint16))[1]
                write_atomically(self._folder / name, png.tobytes())

    def evaluate(self) -> None:
        """Returns no scores."""
