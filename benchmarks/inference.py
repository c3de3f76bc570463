"""Seconds an image, and peak memory, of every config: from an image to its nuclei.

Each config runs in a process of its own, so that its memory is its own: in it this module is called
as `python -m benchmarks.inference CONFIG ROOT DATASET`. Weights are those of the config's
OUTPUT_DIR or of the package; without any they are random, and then the time for making nuclei of
what such a network says means little.
"""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import torch
from detectron2.data import DatasetCatalog

from benchmarks.timing import Row, median, seconds
from dsb2018.checkpoint import NucleiCheckpointer, find_weights
from dsb2018.config import read_config
from dsb2018.data import NucleiMapper, register_dsb2018
from dsb2018.engine import Trainer
from dsb2018.memory import peak_memory
from dsb2018.modeling.precision import autocast, inference_precision

SIZES = (256, 1024)
ROUNDS = 5


def run(config_file: str, root: str, dataset_name: str) -> dict:
    """Measures one config in this process: median seconds by size, and peak memory in bytes."""
    cfg = read_config(config_file)
    cfg.MODEL.DEVICE = "cpu"
    weights = find_weights(config_file)
    model = Trainer.build_model(cfg).eval()
    if weights:
        NucleiCheckpointer(model).load(weights)
    precision = inference_precision(cfg.SOLVER.PRECISION, "cpu")
    mapper = NucleiMapper(cfg, is_train=False)
    register_dsb2018(root)
    items = DatasetCatalog.get(dataset_name)
    result = {"weights": weights or "random", "seconds": {}}
    for size in SIZES:
        item = next(i for i in items if (i["height"], i["width"]) == (size, size))

        def predict(item=item):
            with torch.no_grad(), autocast(precision, "cpu"):
                model([mapper(item)])

        predict()  # warms up
        result["seconds"][size] = median([seconds(predict) for _ in range(ROUNDS)])
    result["memory"] = peak_memory()
    return result


def measure(root: str, dataset_name: str) -> list[Row]:
    """Rows of the report."""
    rows = []
    for path in sorted(Path("configs").rglob("*.yaml")):
        if path.name.startswith("Base-") or path.parent.name == "quick":
            continue
        command = [sys.executable, "-W", "ignore", "-m", "benchmarks.inference"]
        command += [str(path), root, dataset_name]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            raise RuntimeError(f"{path}: {done.stderr[-2000:]}")
        found = json.loads(done.stdout.splitlines()[-1])
        times = " / ".join(f"{found['seconds'][str(size)]:.3f}" for size in SIZES)
        what = f"{path.relative_to('configs')}, {found['weights']}"
        rows.append(Row(what, f"{times} s  {found['memory'] / 1e6:.0f} MB"))
    return [Row(f"{' / '.join(f'{s}×{s}' for s in SIZES)} pixels, and peak memory", ""), *rows]


if __name__ == "__main__":
    np.random.seed(0)
    torch.manual_seed(0)
    print(json.dumps(run(*sys.argv[1:])))
