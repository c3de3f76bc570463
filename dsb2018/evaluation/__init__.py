"""Metrics, and the Detectron2 evaluators that compute them."""

from dsb2018 import compat

compat.require_detectron2()

from dsb2018.evaluation.build import build_evaluators  # noqa: E402
from dsb2018.evaluation.coco_evaluator import CocoEvaluator  # noqa: E402
from dsb2018.evaluation.nuclei_evaluator import NucleiEvaluator  # noqa: E402

__all__ = ["CocoEvaluator", "NucleiEvaluator", "build_evaluators"]
