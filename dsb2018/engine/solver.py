"""Optimizers and learning rate schedules."""

import torch
from detectron2 import solver
from detectron2.solver import LRMultiplier
from detectron2.solver.build import get_default_optimizer_params, maybe_add_gradient_clipping
from fvcore.common.param_scheduler import CompositeParamScheduler, CosineParamScheduler

from dsb2018.errors import UsageError


def build_optimizer(cfg, model) -> torch.optim.Optimizer:
    """Builds Detectron2's SGD, Adam or AdamW.

    Args:
        cfg: complete config; see its SOLVER keys.
        model: model whose parameters are optimized.

    Raises:
        UsageError: `SOLVER.OPTIMIZER` is unknown.
    """
    if cfg.SOLVER.OPTIMIZER == "SGD":
        return solver.build_optimizer(cfg, model)
    classes = {"ADAM": torch.optim.Adam, "ADAMW": torch.optim.AdamW}
    if cfg.SOLVER.OPTIMIZER in classes:
        parameters = get_default_optimizer_params(
            model,
            base_lr=cfg.SOLVER.BASE_LR,
            weight_decay_norm=cfg.SOLVER.WEIGHT_DECAY_NORM,
            bias_lr_factor=cfg.SOLVER.BIAS_LR_FACTOR,
            weight_decay_bias=cfg.SOLVER.WEIGHT_DECAY_BIAS,
        )
        optimizer_class = maybe_add_gradient_clipping(cfg, classes[cfg.SOLVER.OPTIMIZER])
        return optimizer_class(
            parameters, lr=cfg.SOLVER.BASE_LR, weight_decay=cfg.SOLVER.WEIGHT_DECAY
        )
    raise UsageError(f"SOLVER.OPTIMIZER {cfg.SOLVER.OPTIMIZER!r}, expected SGD, ADAM or ADAMW")


def build_lr_scheduler(cfg, optimizer) -> torch.optim.lr_scheduler.LRScheduler:
    """Builds `OneCycleLR` or one of Detectron2's schedules.

    `OneCycleLR` rises from 1/25 of the learning rate to the learning rate in
    `SOLVER.WARMUP_ITERS` iterations, and then falls to 1/10,000 of it. Both parts are cosines.

    Args:
        cfg: complete config; see its SOLVER keys.
        optimizer: optimizer whose learning rate is scheduled.

    Raises:
        UsageError: `SOLVER.WARMUP_ITERS` is out of range.
    """
    if cfg.SOLVER.LR_SCHEDULER_NAME != "OneCycleLR":
        return solver.build_lr_scheduler(cfg, optimizer)
    warmup = cfg.SOLVER.WARMUP_ITERS / cfg.SOLVER.MAX_ITER  # fraction of the iterations
    if not 0 < warmup < 1:
        raise UsageError(
            f"OneCycleLR with SOLVER.WARMUP_ITERS {cfg.SOLVER.WARMUP_ITERS}, expected a number "
            f"above 0 and below SOLVER.MAX_ITER ({cfg.SOLVER.MAX_ITER})"
        )
    parts = [CosineParamScheduler(1 / 25, 1), CosineParamScheduler(1, 1e-4)]
    cycle = CompositeParamScheduler(parts, [warmup, 1 - warmup], ["rescaled", "rescaled"])
    return LRMultiplier(optimizer, cycle, max_iter=cfg.SOLVER.MAX_ITER)
