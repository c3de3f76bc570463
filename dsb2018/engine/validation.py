"""The losses of training, on images that are not trained on."""

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
    """Means of the losses over one window of each image, the same windows each time.

    Windows are as large and as much zoomed as in training, colours as they are. Batch
    normalisation uses its running statistics, as in inference, and does not change them. Several
    processes share the work.

    Args:
        cfg: of the training.
        model: gives losses in training mode.
        dataset_names: registered datasets.

    Returns:
        {"total_loss", …} as in training; in every process.
    """
    window = RandomZoomCrop(cfg.INPUT.CROP_TRAIN, tuple(cfg.INPUT.ZOOM_TRAIN))
    dicts = get_detection_dataset_dicts(dataset_names, filter_empty=False)
    mapper = TrainingMapper(cfg, augmentations=[window])
    share = list(range(len(dicts)))[comm.get_rank() :: comm.get_world_size()]
    size = max(1, cfg.SOLVER.IMS_PER_BATCH // comm.get_world_size())
    keys = [[(i, mix_seeds(i)) for i in share[at : at + size]] for at in range(0, len(share), size)]
    loader = build_loader(SeededSamples(dicts, mapper), keys, cfg.DATALOADER.NUM_WORKERS)
    sums: Counter[str] = Counter()
    was_training = model.training
    model.train()
    for module in model.modules():
        if isinstance(module, _BatchNorm):
            module.eval()
    with EventStorage():  # what models write for the log is not about training here
        for batch in loader:
            seed_all_rng(0)  # Mask R-CNN samples proposals
            losses = {name: loss.item() for name, loss in model(batch).items()}
            for name, value in {"total_loss": sum(losses.values()), **losses}.items():
                sums[name] += value * len(batch)
    model.train(was_training)
    totals: Counter[str] = Counter()
    for part in comm.all_gather(sums):
        totals.update(part)
    return {name: value / len(dicts) for name, value in totals.items()}
