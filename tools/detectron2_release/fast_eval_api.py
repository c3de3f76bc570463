"""`COCOeval_opt`: COCO's evaluation in C++ by `faster-coco-eval`, else the official one."""

from pycocotools.cocoeval import COCOeval

try:
    from faster_coco_eval import COCO, COCOeval_faster
except ImportError:
    COCOeval_faster = None


class _COCOeval(COCOeval_faster or COCOeval):
    """Takes pycocotools' objects, as the official class does."""

    def __init__(self, cocoGt=None, cocoDt=None, iouType="segm"):
        if COCOeval_faster and cocoGt is not None and cocoDt is not None:
            truth = COCO(cocoGt.dataset)
            found = COCO({**cocoGt.dataset, "annotations": cocoDt.dataset["annotations"]})
            super().__init__(truth, found, iouType, print_function=print)
        else:
            super().__init__(cocoGt, cocoDt, iouType)


COCOeval_opt = _COCOeval
