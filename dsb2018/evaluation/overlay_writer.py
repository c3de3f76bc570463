"""A Detectron2 evaluator that draws the predictions."""

from pathlib import Path

import cv2
import numpy as np
from detectron2.evaluation import DatasetEvaluator

from dsb2018.draw import side_by_side
from dsb2018.io.files import write_atomically
from dsb2018.io.images import read_image
from dsb2018.io.names import image_file_name
from dsb2018.structures.ground_truth import has_ground_truth, read_label_layers
from dsb2018.structures.instances import read_output


class OverlayWriter(DatasetEvaluator):
    """Writes `<image>.png`: image, true nuclei if they are known, and predicted nuclei."""

    def __init__(self, folder: Path, image_ids: set[int], score_thresh: float = 0.5):
        """
        Args:
            folder: output folder.
            image_ids: ids of the images to draw.
            score_thresh: instances with a lower score are not drawn, 0 to 1.
        """
        self._folder, self._image_ids, self._score_thresh = folder, image_ids, score_thresh

    def process(self, inputs: list[dict], outputs: list) -> None:
        """Draws the selected images of a batch."""
        for sample, output in zip(inputs, outputs, strict=True):
            if sample["image_id"] not in self._image_ids:
                continue
            image = read_image(sample["file_name"])
            labels = read_output(output, self._score_thresh).nuclei.labels
            ground_truth = read_label_layers(sample) if has_ground_truth(sample) else None
            picture = side_by_side(image, ground_truth, labels)
            name = f"{image_file_name(sample)}.png"
            png = cv2.imencode(".png", np.ascontiguousarray(picture[..., ::-1]))[1]
            write_atomically(self._folder / name, png.tobytes())

    def evaluate(self) -> None:
        """Returns no scores."""
