"""Time of all metrics on perfect predictions, compared with Detectron2's COCOEvaluator."""

import contextlib
import io
import tempfile
import time
from collections.abc import Callable, Sequence

import numpy as np
import psutil
import torch
from detectron2.data import DatasetCatalog
from detectron2.evaluation import COCOEvaluator, DatasetEvaluator

from benchmarks.timing import Row, best_times
from dsb2018.config import get_dsb2018_cfg
from dsb2018.evaluation import build_evaluators
from dsb2018.structures.ground_truth import read_label_layers
from dsb2018.structures.instances import read_output, to_instances
from dsb2018.structures.labels import crop_layers
from dsb2018.structures.nuclei import Detections, Prediction


def perfect_output(sample: dict) -> dict:
    """Returns the ground truth in the form of a Detectron2 model's output."""
    crops = crop_layers(read_label_layers(sample))
    scores = np.linspace(1, 0.6, len(crops), dtype=np.float32)
    instances = to_instances(Detections((sample["height"], sample["width"]), crops, scores))
    foreground = instances.pred_masks.any(dim=0)
    return {"instances": instances, "sem_seg": torch.stack([~foreground, foreground]).float()}


def evaluate(
    evaluator: DatasetEvaluator,
    samples: list[dict],
    outputs: list[dict],
    convert: Callable[[dict], dict | Prediction] = lambda output: output,
) -> dict:
    """Evaluates all images without printing the tables.

    Args:
        evaluator: of Detectron2 or of this project.
        samples: dataset dicts.
        outputs: the model's output for each of them.
        convert: converts an output before it is evaluated.
    """
    evaluator.reset()
    with contextlib.redirect_stdout(io.StringIO()):
        for sample, output in zip(samples, outputs, strict=True):
            evaluator.process([sample], [convert(output)])
        return evaluator.evaluate()


def measure(dataset_name: str, all_datasets: Sequence[str]) -> list[Row]:
    """Returns the rows of the report.

    Args:
        dataset_name: the dataset of the comparison with Detectron2.
        all_datasets: the datasets whose total time and memory are measured.
    """
    return [*_compare(dataset_name), *_measure_all(all_datasets)]


def _compare(dataset_name: str) -> list[Row]:
    samples = DatasetCatalog.get(dataset_name)
    outputs = [perfect_output(sample) for sample in samples]
    cfg = get_dsb2018_cfg()

    def convert(output: dict) -> Prediction:  # as in `TrainedModel`
        return read_output(output, cfg.TEST.SCORE_THRESH)

    with tempfile.TemporaryDirectory() as folder:
        cfg.OUTPUT_DIR = folder
        ours = build_evaluators(cfg, dataset_name)
        stock = COCOEvaluator(dataset_name, output_dir=folder, use_fast_impl=False)
        our_time, stock_time = best_times(
            lambda: evaluate(ours, samples, outputs, convert),
            lambda: evaluate(stock, samples, outputs),
        )
    return [
        Row(f"Detectron2's COCOEvaluator, {len(samples)} images", f"{stock_time:.2f} s"),
        Row("all metrics of this project, same images", f"{our_time:.2f} s"),
        Row("this project / COCOEvaluator", f"{our_time / stock_time:.2f}", "≤ 0.5"),
    ]


def _measure_all(dataset_names: Sequence[str]) -> list[Row]:
    """Measures the total time of several datasets, and the growth of memory.

    Each output is created outside the measured time and released after its evaluation, so the
    memory that grows is that of the evaluators.
    """
    cfg, total, count, memory = get_dsb2018_cfg(), 0.0, 0, []
    for name in dataset_names:
        with tempfile.TemporaryDirectory() as folder:
            cfg.OUTPUT_DIR = folder
            evaluator = build_evaluators(cfg, name)
            evaluator.reset()
            for sample in DatasetCatalog.get(name):
                output = perfect_output(sample)
                start = time.perf_counter()
                evaluator.process([sample], [read_output(output, cfg.TEST.SCORE_THRESH)])
                total += time.perf_counter() - start
                memory.append(psutil.Process().memory_info().rss)
                count += 1
            start = time.perf_counter()
            with contextlib.redirect_stdout(io.StringIO()):
                evaluator.evaluate()
            total += time.perf_counter() - start
    growth = (memory[-1] - memory[count // 10]) / 1e6
    return [
        Row(f"all metrics, {count} images", f"{total:.1f} s", "< 60 s"),
        Row("memory growth from a tenth of the images to the last one", f"{growth:+.0f} MB"),
    ]
