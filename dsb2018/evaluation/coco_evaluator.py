"""COCO average precision of boxes and masks, without a limit that crowded images exceed."""

import contextlib
import io
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from detectron2.evaluation import DatasetEvaluator
from detectron2.structures import Instances
from detectron2.utils import comm
from faster_coco_eval import COCO, COCOeval_faster

from dsb2018.coco_file import read_coco
from dsb2018.files import write_atomically
from dsb2018.masks import encode

AREAS = {"": "all", "s": "small", "m": "medium", "l": "large"}  # as in COCO: 32² and 96² pixels


class CocoEvaluator(DatasetEvaluator):
    """COCO AP of `instances`, as pycocotools computes it, in C++ by `faster-coco-eval`.

    COCO counts the best 100 detections of an image; here `maxDets` is as large as the image with
    most detections or true nuclei. Results: {"bbox": {"AP", "AP50", "AP75", "APs", "APm", "APl",
    "AR"}, "segm": the same}, in percent; NaN where there is no true nucleus of that size.
    """

    def __init__(self, json_file: str, output_dir: str | None = None, distributed: bool = True):
        """
        Args:
            json_file: the truth, COCO JSON with one category.
            output_dir: folder for the detections, `coco_instances.json`; None: not written.
            distributed: gather from all processes; False: this one alone.
        """
        self._json_file = json_file
        self._output_dir = output_dir
        self._distributed = distributed
        self.reset()

    def reset(self) -> None:
        """Forgets all images."""
        self._images: dict[int, list[dict]] = {}

    def process(self, inputs: list[dict], outputs: list[dict]) -> None:
        """Adds a batch: dataset dicts with `image_id`, and the model's output for each."""
        for sample, output in zip(inputs, outputs, strict=True):
            self._images[sample["image_id"]] = to_coco(output["instances"], sample["image_id"])

    def evaluate(self) -> dict[str, dict[str, float]] | None:
        """AP of all images, {} for a dataset without truth; None in other processes than the main
        one."""
        parts = comm.gather(self._images) if self._distributed else [self._images]
        if self._distributed and not comm.is_main_process():
            return None
        self._images = {key: value for part in parts for key, value in part.items()}
        detections = [each for key in sorted(self._images) for each in self._images[key]]
        if self._output_dir:
            path = Path(self._output_dir) / "coco_instances.json"
            write_atomically(path, json.dumps(detections))
        truth = read_coco(self._json_file)
        if not truth["info"].get("has_truth", True):
            return {}
        ids = list(self._images)
        return {kind: coco_ap(truth, detections, ids, kind) for kind in ("bbox", "segm")}

    def matches(self) -> "CocoMatches":
        """Of the masks, for scores of draws of images; without those of small and large nuclei."""
        truth = read_coco(self._json_file)
        detections = [each for key in sorted(self._images) for each in self._images[key]]
        return CocoMatches(truth, detections, list(self._images), "segm", by_area=False)


def to_coco(instances: Instances, image_id: int) -> list[dict]:
    """The detections of one image in COCO's result format.

    Args:
        instances: N of `pred_boxes` (x0, y0, x1, y1), `scores` and `pred_masks` (N, H, W) bool.
        image_id: of the COCO JSON.
    """
    instances = instances.to("cpu")
    boxes = instances.pred_boxes.tensor.numpy().astype(float)
    boxes[:, 2:] -= boxes[:, :2]
    scores, masks = instances.scores.tolist(), instances.pred_masks.numpy()
    return [
        {
            "image_id": image_id,
            "category_id": 1,
            "bbox": box,
            "score": score,
            "segmentation": encode(mask),
        }
        for box, score, mask in zip(boxes.tolist(), scores, masks, strict=True)
    ]


def coco_ap(truth: dict, detections: list[dict], image_ids: list[int], kind: str) -> dict:
    """COCO AP and AR; arguments and errors as of `CocoMatches`, see `CocoMatches.scores`."""
    return CocoMatches(truth, detections, image_ids, kind).scores()


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
            by_area: whether APs, APm and APl are wanted, which take three times the time of others.

        Raises:
            ValueError: the truth has other categories than one with id 1.
        """
        categories = [category["id"] for category in truth["categories"]]
        if categories != [1]:
            raise ValueError(f"the truth has categories {categories}, expected one, with id 1")
        if kind == "segm":  # else the area of a detection is taken from its box
            detections = [{k: v for k, v in each.items() if k != "bbox"} for each in detections]
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
    return [{**each, "segmentation": dict(each["segmentation"])} for each in annotations]


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
    found = {name: ap[name] for name in order if name in ap}
    return {**found, "AR": _mean(recall[:, area[""]])}


def _mean(values: np.ndarray) -> float:
    """Mean in percent; COCO marks what cannot be computed with -1."""
    values = values[values > -1]
    return float(100 * values.mean()) if values.size else float("nan")
