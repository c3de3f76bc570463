"""How much of a training step is waiting for data, with the config's number of workers."""

import tempfile
import time

from detectron2.utils.events import EventStorage

from benchmarks.timing import Row
from dsb2018.config import read_config
from dsb2018.engine import Trainer

WARMUP, STEPS = 3, 15


def measure(config_file: str, dataset_name: str) -> list[Row]:
    """Rows of the report."""
    cfg = read_config(config_file)
    cfg.DATASETS.TRAIN = (dataset_name,)
    with tempfile.TemporaryDirectory() as folder, EventStorage() as storage:
        cfg.OUTPUT_DIR = folder
        trainer = Trainer(cfg)
        waited = 0.0
        for trainer.iter in range(WARMUP + STEPS):
            if trainer.iter == WARMUP:
                start, waited = time.perf_counter(), 0.0
            trainer.run_step()
            waited += storage.history("data_time").latest()
        share = waited / (time.perf_counter() - start)
        trainer.close()
    return [Row(f"{config_file}, share of a step that waits for data", f"{share:.1%}", "< 5 %")]
