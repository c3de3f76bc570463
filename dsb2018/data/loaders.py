"""Builds the data loaders for training and evaluation."""

from detectron2.data import build_detection_test_loader, get_detection_dataset_dicts
from detectron2.utils import comm
from torch.utils.data import DataLoader

from dsb2018.data.catalog import check_annotations
from dsb2018.data.mapper import EvaluationMapper, TrainingMapper
from dsb2018.data.sampling import repeat_factors
from dsb2018.data.seeded import SeededBatches, SeededSamples, build_loader, worker_initializer
from dsb2018.errors import UsageError


def build_train_loader(cfg, start_iter: int = 0, seed: int = 0) -> DataLoader:
    """Builds the infinite loader of training batches.

    `repeat_factors` determines how often each image is drawn.

    Args:
        cfg: a complete config.
        start_iter: number of iterations that the training has already finished.
        seed: random seed of the order of the images and of the augmentations.

    Raises:
        UsageError: `SOLVER.IMS_PER_BATCH` is not a multiple of `SOLVER.ACCUMULATION` times the
            number of processes, or a dataset cannot be used (see `check_annotations` and
            `repeat_factors`).
    """
    datasets = [
        get_detection_dataset_dicts(name, filter_empty=cfg.DATALOADER.FILTER_EMPTY_ANNOTATIONS)
        for name in cfg.DATASETS.TRAIN
    ]
    for name, items in zip(cfg.DATASETS.TRAIN, datasets, strict=True):
        check_annotations(name, items, needs_nuclei=cfg.MODEL.MASK_ON)
    dicts = [item for items in datasets for item in items]
    parts, processes = cfg.SOLVER.ACCUMULATION, comm.get_world_size()
    size, rest = divmod(cfg.SOLVER.IMS_PER_BATCH, parts * processes)
    if rest or not size:
        raise UsageError(
            f"SOLVER.IMS_PER_BATCH {cfg.SOLVER.IMS_PER_BATCH}, expected a multiple of "
            f"SOLVER.ACCUMULATION, {parts}, times the number of processes, {processes}"
        )
    weights, power = cfg.DATALOADER.DATASET_WEIGHTS, cfg.DATALOADER.MODALITY_POWER
    factors = repeat_factors(datasets, weights, power)
    start = start_iter * parts
    batches = SeededBatches(factors, seed, size, start, comm.get_rank(), processes)
    samples = SeededSamples(dicts, TrainingMapper(cfg))
    return build_loader(samples, batches, cfg.DATALOADER.NUM_WORKERS)


def build_test_loader(cfg, dataset_name: str) -> DataLoader:
    """Builds the loader of a test dataset: batches of one image, divided among the processes."""
    loader = build_detection_test_loader(cfg, dataset_name, mapper=EvaluationMapper(cfg))
    loader.worker_init_fn = worker_initializer()
    return loader
