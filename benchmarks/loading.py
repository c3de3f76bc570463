"""Training samples a second in one process, against Detectron2's own mapper."""

import copy
import itertools

import torch
from detectron2.data import DatasetCatalog, DatasetMapper
from detectron2.data import transforms as T

from benchmarks.timing import Row, best_in_turn
from dsb2018.data import NucleiMapper

COUNT = 100  # images


def augmentations() -> list:
    """The same for both mappers."""
    return [T.RandomFlip(), T.RandomCrop("absolute", (256, 256))]


def measure(dataset_name: str) -> list[Row]:
    """Rows of the report."""
    items = list(itertools.islice(DatasetCatalog.get(dataset_name), 0, None, 5))[:COUNT]
    ours = NucleiMapper(is_train=True, augmentations=augmentations(), image_format="RGB")
    stock = DatasetMapper(
        is_train=True,
        augmentations=augmentations(),
        image_format="RGB",
        use_instance_mask=True,
        instance_mask_format="bitmask",
    )
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # as in a worker of a data loader
    times = best_in_turn(
        lambda: [ours(copy.deepcopy(item)) for item in items],
        lambda: [stock(copy.deepcopy(item)) for item in items],
    )
    torch.set_num_threads(threads)
    rates = [len(items) / each for each in times]
    return [
        Row("samples a second, DatasetMapper of Detectron2", f"{rates[1]:.0f}"),
        Row("samples a second, NucleiMapper", f"{rates[0]:.0f}"),
        Row("NucleiMapper / DatasetMapper", f"{rates[0] / rates[1]:.1f}", "≥ 5"),
    ]
