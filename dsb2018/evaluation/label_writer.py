"""Label images of predictions, as a Detectron2 evaluator."""

from pathlib import Path

import cv2
import numpy as np
from detectron2.evaluation import DatasetEvaluator

from dsb2018.io.files import write_atomically
from dsb2018.io.names import image_file_name
from dsb2018.structures.instances import read_output


class LabelWriter(DatasetEvaluator):
    """Writes `<image>.png`: 16 bit, 0 is background, 1 the nucleus with the best score, …"""

    def __init__(self, folder: Path, image_ids: set[int], score_thresh: float = 0.5):
        """
        Args:
            folder: where they go.
            image_ids: of the images that are written.
            score_thresh: instances below it are left out, 0 to 1.
        """
        self._folder, self._image_ids, self._score_thresh = folder, image_ids, score_thresh

    def process(self, inputs: list[dict], outputs: list) -> None:
        """Writes the labels of a batch's images."""
        for sample, output in zip(inputs, outputs, strict=True):
            if sample["image_id"] in self._image_ids:
                labels = read_output(output, self._score_thresh).nuclei.labels
                name = f"{image_file_name(sample)}.png"
                png = cv2.imencode(".png", labels.astype(np.uint16))[1]
                write_atomically(self._folder / name, png.tobytes())

    def evaluate(self) -> None:
        """No scores."""
