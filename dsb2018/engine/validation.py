"""Validation loss: the training losses on images that are not used for training."""

from collections import Counter

import torch
from detectron2.data import get_detection_dataset_dicts
from detectron2.utils import comm
from detectron2.utils.env import seed_all_rng
from detectron2.utils.events import EventStorage
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from dsb2018.data import TrainingMapper
from dsb2018.data.augmentation import RandomZoomCrop
from dsb2018.data.seeded import SeededSamples, build_loader, mix_seeds


@torch.no_grad()
def validation_losses(cfg, model: nn.Module, dataset_names: tuple[str, ...]) -> dict[str, float]:
    """Returns the mean losses over one random crop of each image, the same crops in every call.

    Crops have the size and zoom of the training, but no color augmentation. Batch normalization
    uses its running statistics, as in inference, and does not change them. Several processes
    divide the images among them.

    Args:
        cfg: config of the training.
        model: model that returns losses in training mode.
        dataset_names: registered datasets with ground truth.

    Returns:
        {name: mean loss} with the names of the training and "total_loss"; the same values in all
        processes.
    """
    crop = RandomZoomCrop(cfg.INPUT.CROP_TRAIN, tuple(cfg.INPUT.ZOOM_TRAIN))
    dicts = get_detection_dataset_dicts(dataset_names, filter_empty=False)
    mapper = TrainingMapper(cfg, augmentations=[crop])
    indices = range(comm.get_rank(), len(dicts), comm.get_world_size())
    size = max(1, cfg.SOLVER.IMS_PER_BATCH // comm.get_world_size())
    batches = [indices[start : start + size] for start in range(0, len(indices), size)]
    keys = [[(index, mix_seeds(index)) for index in batch] for batch in batches]
    loader = build_loader(SeededSamples(dicts, mapper), keys, cfg.DATALOADER.NUM_WORKERS)
    sums: Counter[str] = Counter()
    was_training = model.training
    model.train()
    for module in model.modules():
        if isinstance(module, _BatchNorm):
            module.eval()
    with EventStorage():  # keeps values that the model writes out of the log of the training
        for batch in loader:
            seed_all_rng(0)  # Mask R-CNN samples proposals at random
            losses = {name: loss.item() for name, loss in model(batch).items()}
            for name, value in {"total_loss": sum(losses.values()), **losses}.items():
                sums[name] += value * len(batch)
    model.train(was_training)
    totals: Counter[str] = Counter()
    for process_sums in comm.all_gather(sums):
        totals.update(process_sums)
    return {name: value / len(dicts) for name, value in totals.items()}
