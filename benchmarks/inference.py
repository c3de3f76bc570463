"""Seconds per image and peak memory of every config, from an image to its nuclei.

Each config runs in a process of its own, because peak memory is measured per process. The process
runs `python -m benchmarks.inference CONFIG ROOT DATASET`. The weights are those in the config's
OUTPUT_DIR or in the package. Without either, the weights are random; the nuclei and the time of
the postprocessing are then not typical.
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch
from detectron2.data import DatasetCatalog
from detectron2.modeling import build_model

from benchmarks.timing import Row, median, seconds
from dsb2018.checkpoint import find_weights
from dsb2018.config import read_config
from dsb2018.data import EvaluationMapper, register_dsb2018
from dsb2018.memory import peak_memory
from dsb2018.modeling import TrainedModel, load_model

SIZES = (256, 1024)  # height and width of the images, pixels
ROUNDS = 5


def measure_config(config_file: str, root: str, dataset_name: str) -> dict:
    """Measures one config in this process.

    Returns:
        `weights`; `seconds`, the median by image size; and `memory`, the peak memory in bytes.
    """
    cfg = read_config(config_file)
    cfg.MODEL.DEVICE = "cpu"
    weights = find_weights(config_file)
    cfg.MODEL.WEIGHTS = weights
    model = load_model(cfg) if weights else _random_model(cfg)
    mapper = EvaluationMapper(cfg)
    register_dsb2018(root)
    samples = DatasetCatalog.get(dataset_name)
    result = {"weights": weights or "random", "seconds": {}}
    for size in SIZES:
        sample = next(s for s in samples if (s["height"], s["width"]) == (size, size))

        def predict(sample=sample):
            model([mapper(sample)])

        predict()  # warm-up
        result["seconds"][size] = median([seconds(predict) for _ in range(ROUNDS)])
    result["memory"] = peak_memory()
    return result


def _random_model(cfg) -> TrainedModel:
    """Returns a model with random weights, loaded in the same way as a trained one."""
    with tempfile.TemporaryDirectory() as folder:
        cfg.MODEL.WEIGHTS = f"{folder}/random.pth"
        torch.save({"model": build_model(cfg).state_dict()}, cfg.MODEL.WEIGHTS)
        return load_model(cfg)


def measure(root: str, dataset_name: str) -> list[Row]:
    """Returns the rows of the report."""
    rows = []
    for path in sorted(Path("configs").rglob("*.yaml")):
        if path.name.startswith("Base-") or path.parent.name == "quick":
            continue
        command = [sys.executable, "-W", "ignore", "-m", "benchmarks.inference"]
        command += [str(path), root, dataset_name]
        process = subprocess.run(command, capture_output=True, text=True)
        if process.returncode:
            raise RuntimeError(f"{path}: {process.stderr[-2000:]}")
        result = json.loads(process.stdout.splitlines()[-1])
        times = " / ".join(f"{result['seconds'][str(size)]:.3f}" for size in SIZES)
        name = f"{path.relative_to('configs')}, {result['weights']}"
        rows.append(Row(name, f"{times} s  {result['memory'] / 1e6:.0f} MB"))
    sizes = " / ".join(f"{size}×{size}" for size in SIZES)
    return [Row(f"{sizes} pixels, and peak memory", ""), *rows]


if __name__ == "__main__":
    np.random.seed(0)
    torch.manual_seed(0)
    print(json.dumps(measure_config(*sys.argv[1:])))
