"""`COCOeval_opt`: the COCO evaluation in C++ by `faster-coco-eval`, or the official one.

The official one is used if `faster-coco-eval` is not installed, and for what it treats differently:
keypoints, empty parameters, and annotations that lack fields.
"""

from pycocotools.cocoeval import COCOeval

try:
    from faster_coco_eval import COCO, COCOeval_faster
except ImportError:
    COCOeval_faster = None

PARAMETERS = ("imgIds", "catIds", "iouThrs", "recThrs", "maxDets", "areaRng")
FIELDS = {"id", "image_id", "category_id", "area", "iscrowd", "bbox", "segmentation"}


class COCOeval_opt(COCOeval):
    """Takes the objects of pycocotools, as the official class does."""

    _fast = None

    def evaluate(self):
        """Matches the detections of each image."""
        if not self._can_be_fast():
            super().evaluate()
            return
        truth, detections = (
            COCO({**self.cocoGt.dataset, "annotations": _copies(coco.dataset["annotations"])})
            for coco in (self.cocoGt, self.cocoDt)
        )
        self._fast = COCOeval_faster(truth, detections, self.params.iouType, print_function=print)
        for name in (*PARAMETERS, "areaRngLbl"):
            setattr(self._fast.params, name, getattr(self.params, name))
        self._fast.evaluate()

    def accumulate(self, p=None):
        """Computes precision and recall of all images."""
        if self._fast is None:
            super().accumulate(p)
            return
        self._fast.accumulate()
        self.eval = self._fast.eval

    def _can_be_fast(self) -> bool:
        if COCOeval_faster is None or self.params.iouType not in ("bbox", "segm"):
            return False
        has_parameters = all(len(getattr(self.params, name)) for name in PARAMETERS)
        annotations = (
            *self.cocoGt.dataset.get("annotations", ()),
            *self.cocoDt.dataset.get("annotations", ()),
        )
        is_complete = all(annotation.keys() >= FIELDS for annotation in annotations)
        return bool(self.params.useCats) and has_parameters and is_complete


def _copies(annotations: list[dict]) -> list[dict]:
    """Copies of annotations, because `faster-coco-eval` writes into them."""
    return [dict(annotation) for annotation in annotations]
