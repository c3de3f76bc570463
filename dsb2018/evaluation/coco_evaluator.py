"""COCO average precision of boxes and masks, without COCO's limit of 100 detections."""

import contextlib
import io
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from detectron2.evaluation import DatasetEvaluator
from detectron2.utils import comm
from faster_coco_eval import COCO, COCOeval_faster

from dsb2018.io.files import write_atomically
from dsb2018.structures.ground_truth import has_true_nuclei, read_label_layers
from dsb2018.structures.instances import read_output
from dsb2018.structures.labels import crop_layers
from dsb2018.structures.masks import encode_crop
from dsb2018.structures.nuclei import Detections

AREAS = {"": "all", "s": "small", "m": "medium", "l": "large"}  # COCO's limits: 32², 96² pixels
CATEGORY = {"id": 1, "name": "nucleus"}


class CocoEvaluator(DatasetEvaluator):
    """Computes the COCO AP of all detections, as pycocotools does, with `faster-coco-eval` in C++.

    COCO counts the best 100 detections of an image. Here, `maxDets` is the largest number of
    detections or true nuclei in an image. The results are {"bbox": {"AP", "AP50", "AP75", "APs",
    "APm", "APl", "AR"}, "segm": the same keys} in percent; NaN if there are no true nuclei of that
    size.

    As for all other metrics, the ground truth is read from the dataset dicts.
    """

    def __init__(self, output_dir: str | Path | None = None, distributed: bool = True):
        """
        Args:
            output_dir: folder for the file of the detections, `coco_instances.json`; None: no file.
            distributed: whether to gather the detections of all processes.
        """
        self._output_dir = output_dir
        self._distributed = distributed
        self.reset()

    def reset(self) -> None:
        """Removes all images."""
        self._detections: dict[int, list[dict]] = {}
        self._ground_truth: dict[int, dict] = {}

    def process(self, inputs: list[dict], outputs: list) -> None:
        """Adds a batch.

        Args:
            inputs: dataset dicts with `image_id`.
            outputs: a `Prediction` or the dict of a Detectron2 model for each input.
        """
        for sample, output in zip(inputs, outputs, strict=True):
            image_id = sample["image_id"]
            detections = read_output(output, 0.0).detections
            self._detections[image_id] = to_coco_results(detections, image_id)
            if has_true_nuclei(sample):
                self._ground_truth[image_id] = to_coco_truth(read_label_layers(sample), image_id)

    def evaluate(self) -> dict[str, dict[str, float]] | None:
        """Returns the AP of all images.

        Returns:
            See the class. {} if no true nuclei are known; None if this is not the main
            process.
        """
        parts = [(self._detections, self._ground_truth)]
        if self._distributed:
            parts = comm.gather(parts[0])
            if not comm.is_main_process():
                return None
        self._detections = {key: value for part, _ in parts for key, value in part.items()}
        self._ground_truth = {key: value for _, part in parts for key, value in part.items()}
        if self._output_dir:
            path = Path(self._output_dir) / "coco_instances.json"
            write_atomically(path, json.dumps(self._all_detections(self._detections)))
        if not self._ground_truth:
            return {}
        return {kind: self.matches(kind).scores() for kind in ("bbox", "segm")}

    def matches(self, kind: str = "segm", by_area: bool = True) -> "CocoMatches":
        """Matches the detections to the true nuclei, see `CocoMatches`."""
        images = [self._ground_truth[key] for key in sorted(self._ground_truth)]
        annotations = [annotation for image in images for annotation in image["annotations"]]
        ground_truth = {
            "categories": [CATEGORY],
            "images": [image["image"] for image in images],
            "annotations": [{"id": n, **a} for n, a in enumerate(annotations, start=1)],
        }
        detections = self._all_detections(self._ground_truth)
        return CocoMatches(ground_truth, detections, list(self._ground_truth), kind, by_area)

    def _all_detections(self, image_ids) -> list[dict]:
        return [detection for key in sorted(image_ids) for detection in self._detections[key]]


def to_coco_results(detections: Detections, image_id: int) -> list[dict]:
    """Converts the detections of one image to COCO's result format."""
    boxes = detections.corners().astype(float)
    boxes[:, 2:] -= boxes[:, :2]
    rows = zip(boxes.tolist(), detections.scores.tolist(), detections.crops, strict=True)
    return [
        {
            "image_id": image_id,
            "category_id": CATEGORY["id"],
            "bbox": box,
            "score": score,
            "segmentation": encode_crop(crop, *detections.size),
        }
        for box, score, crop in rows
    ]


def to_coco_truth(layers: np.ndarray, image_id: int) -> dict:
    """Converts the true nuclei of an image to COCO format, without annotation ids.

    Args:
        layers: (L, H, W) label layers.
        image_id: id of the image in its dataset.

    Returns:
        {"image": COCO image, "annotations": list of COCO annotations}.
    """
    height, width = layers.shape[1:]
    annotations = [
        {
            "image_id": image_id,
            "category_id": CATEGORY["id"],
            "bbox": crop.box,
            "area": crop.area,
            "iscrowd": 0,
            "segmentation": encode_crop(crop, height, width),
        }
        for crop in crop_layers(layers)
    ]
    return {"image": {"id": image_id, "height": height, "width": width}, "annotations": annotations}


class CocoMatches:
    """Matches of detections and true nuclei, from which COCO's scores are computed.

    The matching, which is slow, is done once for each image. Computing the scores from the matches
    is fast and can be repeated for many draws of images.
    """

    def __init__(
        self,
        ground_truth: dict,
        detections: list[dict],
        image_ids: list[int],
        kind: str,
        by_area: bool = True,
    ):
        """
        Args:
            ground_truth: COCO dict.
            detections: detections in COCO's result format.
            image_ids: ids of the evaluated images.
            kind: "bbox" or "segm".
            by_area: whether to compute APs, APm and APl. They take three times as long as the other
                scores.

        Raises:
            ValueError: the ground truth does not have exactly one category, with id 1.
        """
        categories = [category["id"] for category in ground_truth["categories"]]
        if categories != [CATEGORY["id"]]:
            raise ValueError(
                f"the ground truth has categories {categories}, expected one, with id 1"
            )
        if kind == "segm":  # without a box, the area of a detection is that of its mask
            detections = [{k: v for k, v in d.items() if k != "bbox"} for d in detections]
        with contextlib.redirect_stdout(io.StringIO()):  # the library prints
            coco = COCO(
                {**ground_truth, "annotations": _copy_annotations(ground_truth["annotations"])}
            )
            results = (
                coco.loadRes(_copy_annotations(detections))
                if detections
                else COCO({**ground_truth, "annotations": []})
            )
            self._evaluation = COCOeval_faster(
                coco, results, kind, print_function=_print_nothing, separate_eval=True
            )
            params = self._evaluation.params
            if not by_area:
                params.areaRng, params.areaRngLbl = params.areaRng[:1], params.areaRngLbl[:1]
            params.imgIds = sorted(image_ids)
            params.maxDets = [max(map(_largest_image, (detections, ground_truth["annotations"])))]
            self._evaluation.evaluate()
        # One row per range of areas, one column per image.
        self._matches = np.empty((len(params.areaRng), len(image_ids)), object)
        self._matches.flat[:] = self._evaluation._evalImgs_cpp

    def scores(self, images: Sequence[int] | None = None) -> dict[str, float]:
        """Computes the scores of a draw of images.

        Args:
            images: indices into the sorted image ids. An image may be listed several times. None:
                all images once.

        Returns:
            {"AP", "AP50", "AP75", "APs", "APm", "APl", "AR"} in percent; APs, APm and APl only with
            `by_area`.
        """
        matches = self._matches if images is None else self._matches[:, images]
        self._evaluation._evalImgs_cpp = matches.ravel().tolist()
        self._evaluation._paramsEval.imgIds = list(range(matches.shape[1]))  # used for its length
        self._evaluation.accumulate()
        return read_coco_eval(self._evaluation)


def _largest_image(annotations: list[dict]) -> int:
    """The number of annotations of the image with the most; at least 1."""
    counts = np.bincount([annotation["image_id"] for annotation in annotations], minlength=1)
    return max(1, int(counts.max()))


def _print_nothing(*args) -> None:
    """Replaces the `print` of the library."""


def _copy_annotations(annotations: list[dict]) -> list[dict]:
    """Copies annotations, because the library changes its arguments."""
    return [{**a, "segmentation": dict(a["segmentation"])} for a in annotations]


def read_coco_eval(evaluation) -> dict[str, float]:
    """Reads AP and AR from an accumulated COCOeval object with one category and one `maxDets`."""
    precision = np.asarray(evaluation.eval["precision"])[:, :, 0, :, -1]  # IoU, recall, area
    recall = np.asarray(evaluation.eval["recall"])[:, 0, :, -1]  # IoU, area
    labels = evaluation.params.areaRngLbl
    area = {name: labels.index(label) for name, label in AREAS.items() if label in labels}
    ap = {f"AP{name}": _mean(precision[:, :, index]) for name, index in area.items()}
    thresholds = np.asarray(evaluation.params.iouThrs)
    for iou in (0.5, 0.75):
        index = int(np.argmin(np.abs(thresholds - iou)))
        ap[f"AP{iou * 100:.0f}"] = _mean(precision[index, :, area[""]])
    order = ("AP", "AP50", "AP75", "APs", "APm", "APl")
    scores = {name: ap[name] for name in order if name in ap}
    return {**scores, "AR": _mean(recall[:, area[""]])}


def _mean(values: np.ndarray) -> float:
    """Returns the mean in percent, without the values -1, which COCO sets for undefined values."""
    values = values[values > -1]
    return float(100 * values.mean()) if values.size else float("nan")
