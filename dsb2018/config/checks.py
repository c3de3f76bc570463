"""Checks of the values in a config.

Detectron2's `CfgNode` checks the types when values are merged. This module checks the ranges.
"""

import math
import re
from collections.abc import Callable
from dataclasses import dataclass

from detectron2.config import CfgNode

from dsb2018.config.keys import SEPARATIONS
from dsb2018.io.names import check_address


@dataclass(frozen=True)
class Range:
    """Range of allowed numbers.

    Args:
        low: minimum.
        high: maximum.
        above: whether `low` itself is excluded.
        below: whether `high` itself is excluded.
    """

    low: float
    high: float = math.inf
    above: bool = False
    below: bool = False

    def __contains__(self, value: object) -> bool:
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            return False
        if not math.isfinite(value):
            return False
        is_low = value <= self.low if self.above else value < self.low
        is_high = value >= self.high if self.below else value > self.high
        return not (is_low or is_high)

    def __str__(self) -> str:
        if (self.low, self.high) == (-math.inf, math.inf):
            return "a number"
        if self.high == math.inf:
            return f"a number above {self.low:g}" if self.above else f"{self.low:g} or more"
        low = f"above {self.low:g}" if self.above else f"from {self.low:g}"
        return f"a number {low} to {'below ' if self.below else ''}{self.high:g}"


class Choice(tuple):
    """Allowed strings."""

    def __str__(self) -> str:
        return "one of " + ", ".join(map(repr, self))


@dataclass(frozen=True)
class Each:
    """Lists whose values are all allowed.

    Args:
        allowed: allowed values of the list.
        count: length of the list; None: one or more; 0: any length.
        rising: whether the values must be in ascending order; equal values are allowed.
    """

    allowed: Range | Choice
    count: int | None = None
    rising: bool = False

    def __contains__(self, values: object) -> bool:
        if not isinstance(values, (list, tuple)) or len(values) != (self.count or len(values)):
            return False
        if (not values and self.count != 0) or not all(value in self.allowed for value in values):
            return False
        return not self.rising or list(values) == sorted(values)

    def __str__(self) -> str:
        number = "a list of values" if not self.count else f"{self.count} values"
        return f"{number}, each {self.allowed}" + (", in ascending order" if self.rising else "")


SHARE, POSITIVE, NOT_NEGATIVE = Range(0, 1), Range(0, above=True), Range(0)
COUNT, COUNT_OR_NONE = Range(1), Range(0)

ALLOWED: dict[str, Range | Choice | Each] = {
    "INPUT.FORMAT": Choice(("RGB", "BGR")),
    "INPUT.CROP_TRAIN": Range(16, 8192),
    "INPUT.DIAMETER": NOT_NEGATIVE,
    "INPUT.VIRTUAL_STAIN": SHARE,
    "INPUT.LOCAL_CONTRAST": SHARE,
    "INPUT.ZOOM_TRAIN": Each(Range(0.05, 20), count=2, rising=True),
    "INPUT.ZOOM_TEST": Range(0.05, 20),
    "INPUT.MAX_SIZE_TEST": Range(16),
    "INPUT.STAIN_STRENGTH": SHARE,
    "INPUT.INVERSION": SHARE,
    "INPUT.OPTICS": SHARE,
    "INPUT.MIN_AREA": COUNT_OR_NONE,
    "INPUT.STRETCH_PERCENT": Range(0, 50, below=True),
    "DATALOADER.MODALITY_POWER": SHARE,
    "DATALOADER.NUM_WORKERS": Range(0, 256),
    "SEED": Range(-(2**32), 2**32 - 1),
    "VIS_PERIOD": COUNT_OR_NONE,
    "MODEL.PIXEL_STD": Each(POSITIVE, count=3),
    "MODEL.PIXEL_MEAN": Each(Range(-math.inf), count=3),
    "MODEL.TIMM.STRIDES": Each(Range(1, 64), rising=True),
    "MODEL.TIMM.NORM": Choice(("BN", "FrozenBN")),
    "MODEL.DENSE.LOSSES": Each(Choice(("iou", "dice", "cross_entropy"))),
    "MODEL.DENSE.SEPARATION": Choice(SEPARATIONS),
    "MODEL.DENSE.BORDER_WEIGHT": NOT_NEGATIVE,
    "MODEL.INSTANCES.METHOD": Choice(("components", "watershed", "votes")),
    "MODEL.INSTANCES.SEEDS": Choice(("map", "distance")),
    "MODEL.INSTANCES.NUCLEUS_THRESH": SHARE,
    "MODEL.INSTANCES.SEED_THRESH": SHARE,
    "MODEL.INSTANCES.SEED_DEPTH": NOT_NEGATIVE,
    "MODEL.INSTANCES.VOTE_BLUR": POSITIVE,
    "MODEL.INSTANCES.MIN_AREA": COUNT_OR_NONE,
    "MODEL.INSTANCES.MAX_HOLE": COUNT_OR_NONE,
    "MODEL.UNET.WIDTH": Range(1, 1024),
    "MODEL.UNET.DEPTH": Range(1, 8),
    "MODEL.UNET.NORM": Choice(("", "IN", "BN", "SyncBN", "FrozenBN", "GN", "LN", "naiveSyncBN")),
    "MODEL.UNET.HEAD_WIDTHS": Each(Range(1, 4096)),
    "MODEL.SIMPLE_CNN.WIDTH": Range(1, 4096),
    "MODEL.SIMPLE_CNN.DEPTH": Range(1, 64),
    "MODEL.ROI_HEADS.SCORE_THRESH_TEST": SHARE,
    "MODEL.ROI_HEADS.NMS_THRESH_TEST": SHARE,
    "MODEL.RPN.NMS_THRESH": SHARE,
    "SOLVER.OPTIMIZER": Choice(("SGD", "ADAM", "ADAMW")),
    "SOLVER.PRECISION": Choice(("auto", "fp32", "bf16", "fp16")),
    "SOLVER.EMA_DECAY": Range(0, 1, below=True),
    "SOLVER.ACCUMULATION": COUNT,
    "SOLVER.CHECKPOINTS": COUNT_OR_NONE,
    "SOLVER.CHECKPOINT_PERIOD": COUNT,
    "SOLVER.IMS_PER_BATCH": Range(1, 65536),
    "SOLVER.LR_SCHEDULER_NAME": Choice(("WarmupMultiStepLR", "WarmupCosineLR", "OneCycleLR")),
    "SOLVER.WARMUP_METHOD": Choice(("linear", "constant")),
    "SOLVER.STEPS": Each(NOT_NEGATIVE, count=0, rising=True),
    "SOLVER.CLIP_GRADIENTS.NORM_TYPE": POSITIVE,
    "SOLVER.REFERENCE_WORLD_SIZE": COUNT_OR_NONE,
    "SOLVER.MAX_ITER": COUNT,
    "SOLVER.BASE_LR": POSITIVE,
    "SOLVER.WARMUP_ITERS": COUNT_OR_NONE,
    "SOLVER.WARMUP_FACTOR": SHARE,
    "SOLVER.GAMMA": POSITIVE,
    "SOLVER.MOMENTUM": Range(0, 1, below=True),
    "SOLVER.WEIGHT_DECAY": NOT_NEGATIVE,
    "SOLVER.WEIGHT_DECAY_NORM": NOT_NEGATIVE,
    "SOLVER.BIAS_LR_FACTOR": NOT_NEGATIVE,
    "SOLVER.CLIP_GRADIENTS.CLIP_VALUE": POSITIVE,
    "SOLVER.CLIP_GRADIENTS.CLIP_TYPE": Choice(("value", "norm")),
    "TEST.EVAL_PERIOD": COUNT_OR_NONE,
    "TEST.DETECTIONS_PER_IMAGE": COUNT,
    "TEST.SCORE_THRESH": SHARE,
    "TEST.OVERLAYS": COUNT_OR_NONE,
    "TEST.PATIENCE": COUNT_OR_NONE,
    "WANDB.MODE": Choice(("", "online", "offline", "disabled")),
    "WANDB.IMAGES": COUNT_OR_NONE,
}


DEVICES = "cpu, cuda, or one GPU, such as cuda:1"


def find_value(cfg: CfgNode, key: str) -> object:
    """Returns the value of a key such as "SOLVER.BASE_LR".

    Raises:
        KeyError: the key does not exist.
    """
    value = cfg
    for name in key.split("."):
        if not isinstance(value, CfgNode):
            raise KeyError(key)
        value = value[name]
    return value


def check_values(cfg: CfgNode) -> None:
    """Checks the keys in `ALLOWED`, the device, the weights and the names of the datasets.

    Raises:
        ValueError: a value is not allowed; the message names key, value and range.
    """
    for key, allowed in ALLOWED.items():
        value = find_value(cfg, key)
        if value not in allowed:
            raise ValueError(f"{key} {value!r}, expected {allowed}")
    if cfg.INPUT.DIAMETER and cfg.INPUT.ZOOM_TEST != 1:
        raise ValueError(
            f"INPUT.ZOOM_TEST {cfg.INPUT.ZOOM_TEST}, expected 1 for a model with INPUT.DIAMETER "
            f"{cfg.INPUT.DIAMETER:g}, which determines the zoom; predict.py has --diameter"
        )
    if cfg.TEST.AUG.ENABLED and cfg.MODEL.MASK_ON:
        raise ValueError("TEST.AUG.ENABLED True, expected False: only dense models average flips")
    _check("MODEL.DEVICE", cfg.MODEL.DEVICE, _is_device, DEVICES)
    check_address(cfg.MODEL.WEIGHTS)
    for key in ("DATASETS.TRAIN", "DATASETS.TEST"):
        expected = 'a list of names, such as ("dsb2018_train",)'
        _check(key, find_value(cfg, key), _are_names, expected)


def _check(key: str, value: object, is_allowed: Callable[[object], bool], expected: str) -> None:
    if not is_allowed(value):
        raise ValueError(f"{key} {value!r}, expected {expected}")


def _is_device(value: object) -> bool:
    return isinstance(value, str) and re.fullmatch(r"cpu|cuda(:\d+)?", value) is not None


def _are_names(values: object) -> bool:
    if not isinstance(values, (list, tuple)):
        return False
    return all(isinstance(name, str) and name for name in values)
