"""All metrics on perfect predictions, against Detectron2's COCOEvaluator alone."""

import contextlib
import io
import tempfile
import time
from collections.abc import Sequence

import numpy as np
import psutil
import torch
from detectron2.data import DatasetCatalog
from detectron2.evaluation import COCOEvaluator
from detectron2.structures import Boxes, Instances

from benchmarks.timing import Row, best_in_turn
from dsb2018.config import get_dsb2018_cfg
from dsb2018.data.mapper import labels_to_instances
from dsb2018.evaluation import build_evaluators
from dsb2018.structures.ground_truth import read_label_layers


def perfect_output(item: dict) -> dict:
    """What a model would give that knows the truth."""
    truth = labels_to_instances(read_label_layers(item))
    instances = Instances(truth.image_size)
    instances.pred_boxes = Boxes(truth.gt_boxes.tensor.clone())
    instances.scores = torch.from_numpy(np.linspace(1, 0.6, len(truth), dtype=np.float32))
    instances.pred_classes = truth.gt_classes
    instances.pred_masks = truth.gt_masks.tensor
    nuclei = instances.pred_masks.any(dim=0)
    return {"instances": instances, "sem_seg": torch.stack([~nuclei, nuclei]).float()}


def evaluate(evaluator, items: list[dict], outputs: list[dict]) -> dict:
    """Runs an evaluator over all images, without its tables on the screen."""
    evaluator.reset()
    with contextlib.redirect_stdout(io.StringIO()):
        for item, output in zip(items, outputs, strict=True):
            evaluator.process([item], [output])
        return evaluator.evaluate()


def measure(dataset_name: str, everything: Sequence[str]) -> list[Row]:
    """Rows of the report.

    Args:
        dataset_name: where stock Detectron2 is timed too.
        everything: datasets of which all images are evaluated, one after the other.
    """
    return [*_beside_stock(dataset_name), *_one_by_one(everything)]


def _beside_stock(dataset_name: str) -> list[Row]:
    items = DatasetCatalog.get(dataset_name)
    outputs = [perfect_output(item) for item in items]
    cfg = get_dsb2018_cfg()
    with tempfile.TemporaryDirectory() as folder:
        cfg.OUTPUT_DIR = folder
        ours = build_evaluators(cfg, dataset_name)
        stock = COCOEvaluator(dataset_name, output_dir=folder, use_fast_impl=False)
        times = best_in_turn(
            lambda: evaluate(ours, items, outputs), lambda: evaluate(stock, items, outputs)
        )
    return [
        Row(f"COCOEvaluator of Detectron2, {len(items)} images", f"{times[1]:.2f} s"),
        Row("COCO, pixels and nuclei, the same images", f"{times[0]:.2f} s"),
        Row("ours / COCOEvaluator", f"{times[0] / times[1]:.2f}", "≤ 0.5"),
    ]


def _one_by_one(dataset_names: Sequence[str]) -> list[Row]:
    """Outputs are made outside the clock and forgotten, so that the memory is the evaluators'."""
    cfg, seconds, count, memory = get_dsb2018_cfg(), 0.0, 0, []
    for name in dataset_names:
        with tempfile.TemporaryDirectory() as folder:
            cfg.OUTPUT_DIR = folder
            evaluator = build_evaluators(cfg, name)
            evaluator.reset()
            for item in DatasetCatalog.get(name):
                output = perfect_output(item)
                start = time.perf_counter()
                evaluator.process([item], [output])
                seconds += time.perf_counter() - start
                memory.append(psutil.Process().memory_info().rss)
                count += 1
            start = time.perf_counter()
            with contextlib.redirect_stdout(io.StringIO()):
                evaluator.evaluate()
            seconds += time.perf_counter() - start
    growth = (memory[-1] - memory[count // 10]) / 1e6
    return [
        Row(f"COCO, pixels and nuclei, {count} images", f"{seconds:.1f} s", "< 60 s"),
        Row("memory at their last image, above that at a tenth of them", f"{growth:+.0f} MB"),
    ]
