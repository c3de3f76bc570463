"""Training samples per second in one process, compared with Detectron2's mapper."""

import copy
import itertools

import torch
from detectron2.data import DatasetCatalog, DatasetMapper
from detectron2.data import transforms as T

from benchmarks.timing import Row, best_times
from dsb2018.data import TrainingMapper

COUNT = 100  # number of images


def augmentations() -> list[T.Augmentation]:
    """Returns the augmentations of both mappers."""
    return [T.RandomFlip(), T.RandomCrop("absolute", (256, 256))]


def measure(dataset_name: str) -> list[Row]:
    """Returns the rows of the report."""
    samples = list(itertools.islice(DatasetCatalog.get(dataset_name), 0, None, 5))[:COUNT]
    ours = TrainingMapper(augmentations=augmentations(), image_format="RGB")
    stock = DatasetMapper(
        is_train=True,
        augmentations=augmentations(),
        image_format="RGB",
        use_instance_mask=True,
        instance_mask_format="bitmask",
    )
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # as in a worker process of a data loader
    our_time, stock_time = best_times(
        lambda: [ours(copy.deepcopy(sample)) for sample in samples],
        lambda: [stock(copy.deepcopy(sample)) for sample in samples],
    )
    torch.set_num_threads(threads)
    return [
        Row("samples per second, Detectron2's DatasetMapper", f"{len(samples) / stock_time:.0f}"),
        Row("samples per second, TrainingMapper", f"{len(samples) / our_time:.0f}"),
        Row("TrainingMapper / DatasetMapper", f"{stock_time / our_time:.1f}", "≥ 5"),
    ]
