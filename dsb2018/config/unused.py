"""Keys of Detectron2 that have no effect in this project, and the keys to use instead."""

import logging

from detectron2.config import CfgNode, get_cfg

from dsb2018.config.checks import find_value

logger = logging.getLogger(__name__)
_warned: set[str] = set()  # a config is read several times in a process

WITHOUT_EFFECT = {
    "SOLVER.AMP.ENABLED": "use SOLVER.PRECISION",
    "INPUT.MIN_SIZE_TRAIN": "use INPUT.ZOOM_TRAIN and INPUT.CROP_TRAIN",
    "INPUT.MIN_SIZE_TRAIN_SAMPLING": "use INPUT.ZOOM_TRAIN",
    "INPUT.MAX_SIZE_TRAIN": "use INPUT.CROP_TRAIN",
    "INPUT.MIN_SIZE_TEST": "use INPUT.ZOOM_TEST",
    "INPUT.RANDOM_FLIP": "training images are always flipped and turned",
    "INPUT.CROP.ENABLED": "use INPUT.CROP_TRAIN",
    "DATALOADER.SAMPLER_TRAIN": "use DATALOADER.MODALITY_POWER",
    "DATALOADER.REPEAT_THRESHOLD": "use DATALOADER.MODALITY_POWER",
    "DATALOADER.ASPECT_RATIO_GROUPING": "training windows have one size",
    "TEST.AUG.ENABLED": "there is no test-time augmentation",
    "TEST.PRECISE_BN.ENABLED": "there is no precise BN; SOLVER.EMA_DECAY averages the weights",
}


def warn_of_unused(cfg: CfgNode, source: str) -> None:
    """Logs a warning for each key that was changed without effect, once in a process.

    Args:
        cfg: complete.
        source: the file or option that the config comes from, for the message.
    """
    defaults = get_cfg()
    for key, advice in WITHOUT_EFFECT.items():
        value = find_value(cfg, key)
        message = f"{source}: {key} {value} has no effect; {advice}"
        if value != find_value(defaults, key) and message not in _warned:
            _warned.add(message)
            logger.warning(message)
