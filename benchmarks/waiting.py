"""Share of a training iteration that waits for data, with the config's number of workers."""

import tempfile
import time

from detectron2.utils.events import EventStorage

from benchmarks.timing import Row
from dsb2018.config import read_config
from dsb2018.engine import Trainer

WARMUP, ITERATIONS = 3, 15


def measure(config_file: str, dataset_name: str) -> list[Row]:
    """Returns the rows of the report."""
    cfg = read_config(config_file)
    cfg.DATASETS.TRAIN = (dataset_name,)
    with tempfile.TemporaryDirectory() as folder, EventStorage() as storage:
        cfg.OUTPUT_DIR = folder
        trainer = Trainer(cfg)
        waiting = 0.0
        for trainer.iter in range(WARMUP + ITERATIONS):
            if trainer.iter == WARMUP:
                start, waiting = time.perf_counter(), 0.0
            trainer.run_step()
            waiting += storage.history("data_time").latest()
        share = waiting / (time.perf_counter() - start)
        trainer.close()
    return [Row(f"{config_file}, share of time that waits for data", f"{share:.1%}", "< 5 %")]
