"""COCO average precision of boxes and masks, without a limit that crowded images exceed."""

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
from dsb2018.structures.ground_truth import has_ground_truth, read_label_layers
from dsb2018.structures.instances import read_output
from dsb2018.structures.labels import crop_layers
from dsb2018.structures.masks import encode_crop
from dsb2018.structures.nuclei import Detections

AREAS = {"": "all", "s": "small", "m": "medium", "l": "large"}  # as in COCO: 32² and 96² pixels
CATEGORY = {"id": 1, "name": "nucleus"}


class CocoEvaluator(DatasetEvaluator):
    """COCO AP of all detections, as pycocotools computes it, in C++ by `faster-coco-eval`.

    COCO counts the best 100 detections of an image; here `maxDets` is as large as the image with
    most detections or true nuclei. Results: {"bbox": {"AP", "AP50", "AP75", "APs", "APm", "APl",
    "AR"}, "segm": the same}, in percent; NaN where there is no true nucleus of that size.

    The ground truth is what the dataset dicts say, as for all other metrics.
    """

    def __init__(self, output_dir: str | Path | None = None, distributed: bool = True):
        """
        Args:
            output_dir: folder for the detections, `coco_instances.json`; None: not written.
            distributed: gather from all processes; False: this one alone.
        """
        self._output_dir = output_dir
        self._distributed = distributed
        self.reset()

    def reset(self) -> None:
        """Forgets all images."""
        self._detections: dict[int, list[dict]] = {}
        self._truth: dict[int, dict] = {}

    def process(self, inputs: list[dict], outputs: list) -> None:
        """Adds a batch.

        Args:
            inputs: dataset dicts with `image_id`.
            outputs: a `Prediction`, or a Detectron2 model's dict, for each.
        """
        for sample, output in zip(inputs, outputs, strict=True):
            image_id = sample["image_id"]
            detections = read_output(output, 0.0).detections
            self._detections[image_id] = to_coco_results(detections, image_id)
            if has_ground_truth(sample):
                self._truth[image_id] = to_coco_truth(read_label_layers(sample), image_id)

    def evaluate(self) -> dict[str, dict[str, float]] | None:
        """AP of all images, {} for a dataset without ground truth; None in other processes than the
        main one."""
        parts = [(self._detections, self._truth)]
        if self._distributed:
            parts = comm.gather(parts[0])
            if not comm.is_main_process():
                return None
        self._detections = {key: value for part, _ in parts for key, value in part.items()}
        self._truth = {key: value for _, part in parts for key, value in part.items()}
        if self._output_dir:
            path = Path(self._output_dir) / "coco_instances.json"
            write_atomically(path, json.dumps(self._all_detections(self._detections)))
        if not self._truth:
            return {}
        return {kind: self.matches(kind).scores() for kind in ("bbox", "segm")}

    def matches(self, kind: str = "segm", by_area: bool = True) -> "CocoMatches":
        """Which detections match which true nuclei, see `CocoMatches`."""
        images = [self._truth[key] for key in sorted(self._truth)]
        annotations = [annotation for image in images for annotation in image["annotations"]]
        truth = {
            "categories": [CATEGORY],
            "images": [image["image"] for image in images],
            "annotations": [{"id": n, **a} for n, a in enumerate(annotations, start=1)],
        }
        detections = self._all_detections(self._truth)
        return CocoMatches(truth, detections, list(self._truth), kind, by_area)

    def _all_detections(self, image_ids) -> list[dict]:
        return [detection for key in sorted(image_ids) for detection in self._detections[key]]


def to_coco_results(detections: Detections, image_id: int) -> list[dict]:
    """The detections of one image in COCO's result format."""
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
    """The COCO entries of an image and of its true nuclei, whose ids are given later.

    Args:
        layers: (L, H, W) label layers.
        image_id: of the dataset.
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
    """Which detections match which true nuclei: the part of COCO's scores that each image has for
    itself. What comes after is fast, so it can be repeated for many draws of images."""

    def __init__(
        self,
        truth: dict,
        detections: list[dict],
        image_ids: list[int],
        kind: str,
        by_area: bool = True,
    ):
        """
        Args:
            truth: COCO dict.
            detections: in COCO's result format.
            image_ids: the images that were evaluated.
            kind: "bbox" or "segm".
            by_area: whether APs, APm and APl are wanted, which take three times as long as the
                others.

        Raises:
            ValueError: the truth has other categories than one with id 1.
        """
        categories = [category["id"] for category in truth["categories"]]
        if categories != [CATEGORY["id"]]:
            raise ValueError(f"the truth has categories {categories}, expected one, with id 1")
        if kind == "segm":  # else the area of a detection is taken from its box
            detections = [{k: v for k, v in d.items() if k != "bbox"} for d in detections]
        per_image = np.bincount([d["image_id"] for d in detections], minlength=1)
        nuclei = np.bincount([a["image_id"] for a in truth["annotations"]], minlength=1)
        with contextlib.redirect_stdout(io.StringIO()):  # the library prints
            coco = COCO({**truth, "annotations": _copies(truth["annotations"])})
            results = (
                coco.loadRes(_copies(detections))
                if detections
                else COCO({**truth, "annotations": []})
            )
            self._evaluation = COCOeval_faster(
                coco, results, kind, print_function=_silent, separate_eval=True
            )
            params = self._evaluation.params
            if not by_area:
                params.areaRng, params.areaRngLbl = params.areaRng[:1], params.areaRngLbl[:1]
            params.imgIds = sorted(image_ids)
            params.maxDets = [max(1, int(per_image.max()), int(nuclei.max()))]
            self._evaluation.evaluate()
        # One row for each range of areas, one column for each image.
        self._matches = np.empty((len(params.areaRng), len(image_ids)), object)
        self._matches.flat = self._evaluation._evalImgs_cpp

    def scores(self, images: Sequence[int] | None = None) -> dict[str, float]:
        """
        Args:
            images: positions among the sorted image ids, each as often as it is to count; None: all
                images once.

        Returns:
            {"AP", "AP50", "AP75", "APs", "APm", "APl", "AR"} in percent, those of sizes if wanted.
        """
        chosen = self._matches if images is None else self._matches[:, images]
        self._evaluation._evalImgs_cpp = chosen.ravel().tolist()
        self._evaluation._paramsEval.imgIds = list(range(chosen.shape[1]))  # only their number
        self._evaluation.accumulate()
        return read_coco_eval(self._evaluation)


def _silent(*args) -> None:
    """In place of the library's printing."""


def _copies(annotations: list[dict]) -> list[dict]:
    """Copies of annotations: the library writes into what it is given."""
    return [{**a, "segmentation": dict(a["segmentation"])} for a in annotations]


def read_coco_eval(evaluation) -> dict[str, float]:
    """AP and AR of an accumulated COCOeval object with one category and one `maxDets`."""
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
    """Mean in percent; COCO marks what cannot be computed with -1."""
    values = values[values > -1]
    return float(100 * values.mean()) if values.size else float("nan")
