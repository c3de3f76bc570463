"""Keys of Detectron2 that have no effect in this project, and the keys to use instead."""

import logging

from detectron2.config import CfgNode, get_cfg

from dsb2018.config.checks import find_value

logger = logging.getLogger(__name__)
_warned: set[str] = set()  # messages that were logged; a process reads a config several times

WITHOUT_EFFECT = {
    "SOLVER.AMP.ENABLED": "use SOLVER.PRECISION",
    "INPUT.MIN_SIZE_TRAIN": "use INPUT.ZOOM_TRAIN and INPUT.CROP_TRAIN",
    "INPUT.MIN_SIZE_TRAIN_SAMPLING": "use INPUT.ZOOM_TRAIN",
    "INPUT.MAX_SIZE_TRAIN": "use INPUT.CROP_TRAIN",
    "INPUT.MIN_SIZE_TEST": "use INPUT.ZOOM_TEST",
    "INPUT.RANDOM_FLIP": "training images are always flipped and rotated at random",
    "INPUT.CROP.ENABLED": "use INPUT.CROP_TRAIN",
    "DATALOADER.SAMPLER_TRAIN": "use DATALOADER.MODALITY_POWER",
    "DATALOADER.REPEAT_THRESHOLD": "use DATALOADER.MODALITY_POWER",
    "DATALOADER.ASPECT_RATIO_GROUPING": "all training crops have the same size",
    "TEST.AUG.MIN_SIZES": "TEST.AUG averages flips, not sizes",
    "TEST.AUG.MAX_SIZE": "TEST.AUG averages flips, not sizes",
    "TEST.PRECISE_BN.ENABLED": "precise BN is not supported; SOLVER.EMA_DECAY averages the weights",
}


def warn_of_unused(cfg: CfgNode, source: str) -> None:
    """Logs a warning for each key without effect that was changed, once per process.

    Args:
        cfg: complete config.
        source: file or option that the config comes from, for the message.
    """
    defaults = get_cfg()
    for key, advice in WITHOUT_EFFECT.items():
        value = find_value(cfg, key)
        message = f"{source}: {key} {value} has no effect; {advice}"
        if value != find_value(defaults, key) and message not in _warned:
            _warned.add(message)
            logger.warning(message)
