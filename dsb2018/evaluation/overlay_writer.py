"""Pictures of predictions, as a Detectron2 evaluator: they are drawn while images pass."""

from pathlib import Path

import cv2
import numpy as np
from detectron2.evaluation import DatasetEvaluator

from dsb2018.draw import side_by_side
from dsb2018.evaluation.nuclei_evaluator import instances_to_labels
from dsb2018.files import write_atomically
from dsb2018.truth import has_truth, read_label_layers


class OverlayWriter(DatasetEvaluator):
    """Writes `<image>.png`: the image, its true nuclei where known, the predicted ones."""

    def __init__(self, folder: Path, count: int, score_thresh: float):
        """
        Args:
            folder: where the pictures go.
            count: number of images that are drawn in each process, the first that pass.
            score_thresh: instances below it are not drawn, 0 to 1.
        """
        self._folder, self._count, self._score_thresh = folder, count, score_thresh
        self.reset()

    def reset(self) -> None:
        """Starts to count anew."""
        self._left = self._count

    def process(self, inputs: list[dict], outputs: list[dict]) -> None:
        """Draws the images of a batch, as long as there are some to be drawn."""
        for sample, output in zip(inputs, outputs, strict=True):
            if self._left <= 0:
                return
            self._left -= 1
            image = cv2.imread(sample["file_name"], cv2.IMREAD_COLOR)[..., ::-1]
            labels = instances_to_labels(output["instances"], self._score_thresh)
            truth = read_label_layers(sample) if has_truth(sample) else None
            picture = side_by_side(np.ascontiguousarray(image), truth, labels)
            name = f"{sample.get('dsb_id', sample['image_id'])}.png"
            png = cv2.imencode(".png", np.ascontiguousarray(picture[..., ::-1]))[1]
            write_atomically(self._folder / name, png.tobytes())

    def evaluate(self) -> None:
        """No scores."""
