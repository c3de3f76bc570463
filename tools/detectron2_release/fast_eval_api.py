"""Defines `COCOeval_opt`: the COCO evaluation of `faster-coco-eval` (C++), else of pycocotools."""

from pycocotools.cocoeval import COCOeval

try:
    from faster_coco_eval import COCO, COCOeval_faster
except ImportError:
    COCOeval_faster = None


class _COCOeval(COCOeval_faster or COCOeval):
    """Has the constructor of pycocotools' `COCOeval` and accepts its `COCO` objects."""

    def __init__(self, cocoGt=None, cocoDt=None, iouType="segm"):
        if COCOeval_faster and cocoGt is not None and cocoDt is not None:
            ground_truth = COCO(cocoGt.dataset)
            detections = COCO({**cocoGt.dataset, "annotations": cocoDt.dataset["annotations"]})
            super().__init__(ground_truth, detections, iouType, print_function=print)
        else:
            super().__init__(cocoGt, cocoDt, iouType)


COCOeval_opt = _COCOeval
