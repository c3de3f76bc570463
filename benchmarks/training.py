"""Time of a training iteration in each precision and memory layout."""

import itertools
from collections.abc import Callable

import torch
from detectron2.utils.events import EventStorage

from benchmarks.timing import Row, median, seconds
from dsb2018.config import read_config
from dsb2018.engine import Trainer
from dsb2018.modeling.precision import autocast

ITERATIONS = 5
VARIANTS = {  # name → precision, and whether the memory layout is channels last
    "fp32 NCHW": (torch.float32, False),
    "fp32 NHWC": (torch.float32, True),
    "bf16 NCHW": (torch.bfloat16, False),
    "bf16 NHWC": (torch.bfloat16, True),
}


def measure(config_file: str, dataset_name: str) -> list[Row]:
    """Returns the rows of the report; the variants run alternately, on the same batches."""
    cfg = read_config(config_file)
    cfg.DATASETS.TRAIN = (dataset_name,)
    cfg.DATALOADER.NUM_WORKERS = 0
    torch.manual_seed(0)
    batches = list(itertools.islice(Trainer.build_train_loader(cfg), ITERATIONS + 1))
    steps = {}
    for name, (precision, channels_last) in VARIANTS.items():
        cfg.MODEL.CHANNELS_LAST = channels_last
        steps[name] = build_step(cfg, precision)
    times = {name: [] for name in VARIANTS}
    with EventStorage():
        for iteration, batch in enumerate(batches):
            for name, step in steps.items():
                step_time = seconds(lambda step=step, batch=batch: step(batch))
                if iteration:  # the first one is a warm-up
                    times[name].append(step_time)
    batch_size = cfg.SOLVER.IMS_PER_BATCH
    return [
        Row(f"{config_file}, {name}", f"{batch_size / median(times[name]):.2f} images/s")
        for name in VARIANTS
    ]


def build_step(cfg, precision: torch.dtype) -> Callable[[list[dict]], None]:
    """Returns a function that trains a new model on one batch."""
    model = Trainer.build_model(cfg).train()
    optimizer = Trainer.build_optimizer(cfg, model)

    def step(batch: list[dict]) -> None:
        with autocast(precision, cfg.MODEL.DEVICE):
            losses = model(batch)
        optimizer.zero_grad()
        sum(losses.values()).backward()
        optimizer.step()
        if cfg.MODEL.DEVICE == "cuda":
            torch.cuda.synchronize()

    return step
