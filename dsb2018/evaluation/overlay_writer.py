"""Pictures of predictions, as a Detectron2 evaluator: they are drawn while images pass."""

from pathlib import Path

import cv2
import numpy as np
from detectron2.evaluation import DatasetEvaluator

from dsb2018.draw import side_by_side
from dsb2018.evaluation.nuclei_evaluator import instances_to_labels
from dsb2018.files import write_atomically
from dsb2018.images import read_image
from dsb2018.names import image_file_name
from dsb2018.truth import has_truth, read_label_layers


class OverlayWriter(DatasetEvaluator):
    """Writes `<image>.png`: the image, its true nuclei where known, the predicted ones."""

    def __init__(self, folder: Path, image_ids: set[int], score_thresh: float):
        """
        Args:
            folder: where the pictures go.
            image_ids: of the images that are drawn.
            score_thresh: instances below it are not drawn, 0 to 1.
        """
        self._folder, self._image_ids, self._score_thresh = folder, image_ids, score_thresh

    def process(self, inputs: list[dict], outputs: list[dict]) -> None:
        """Draws the images of a batch that are wanted."""
        for sample, output in zip(inputs, outputs, strict=True):
            if sample["image_id"] not in self._image_ids:
                continue
            image = read_image(sample["file_name"])
            labels = instances_to_labels(output["instances"], self._score_thresh)
            truth = read_label_layers(sample) if has_truth(sample) else None
            picture = side_by_side(image, truth, labels)
            name = f"{image_file_name(sample)}.png"
            png = cv2.imencode(".png", np.ascontiguousarray(picture[..., ::-1]))[1]
            write_atomically(self._folder / name, png.tobytes())

    def evaluate(self) -> None:
        """No scores."""
