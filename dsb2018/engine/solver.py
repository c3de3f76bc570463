"""Optimizers and schedules of the learning rate, by config."""

import torch
from detectron2 import solver
from detectron2.solver import LRMultiplier
from detectron2.solver.build import get_default_optimizer_params, maybe_add_gradient_clipping
from fvcore.common.param_scheduler import CompositeParamScheduler, CosineParamScheduler

from dsb2018.errors import UsageError


def build_optimizer(cfg, model) -> torch.optim.Optimizer:
    """SGD as Detectron2 builds it, Adam, or AdamW.

    Raises:
        UsageError: SOLVER.OPTIMIZER is another.
    """
    if cfg.SOLVER.OPTIMIZER == "SGD":
        return solver.build_optimizer(cfg, model)
    kinds = {"ADAM": torch.optim.Adam, "ADAMW": torch.optim.AdamW}
    if cfg.SOLVER.OPTIMIZER in kinds:
        parameters = get_default_optimizer_params(
            model,
            base_lr=cfg.SOLVER.BASE_LR,
            weight_decay_norm=cfg.SOLVER.WEIGHT_DECAY_NORM,
            bias_lr_factor=cfg.SOLVER.BIAS_LR_FACTOR,
            weight_decay_bias=cfg.SOLVER.WEIGHT_DECAY_BIAS,
        )
        kind = maybe_add_gradient_clipping(cfg, kinds[cfg.SOLVER.OPTIMIZER])
        return kind(parameters, lr=cfg.SOLVER.BASE_LR, weight_decay=cfg.SOLVER.WEIGHT_DECAY)
    raise UsageError(f"SOLVER.OPTIMIZER {cfg.SOLVER.OPTIMIZER!r}, expected SGD, ADAM or ADAMW")


def build_lr_scheduler(cfg, optimizer) -> torch.optim.lr_scheduler.LRScheduler:
    """Detectron2's schedules, and `OneCycleLR`: a cosine from 1/25 of the learning rate up to
    it in `WARMUP_ITERS` iterations, and one down to 1/10,000 of it in the others."""
    if cfg.SOLVER.LR_SCHEDULER_NAME != "OneCycleLR":
        return solver.build_lr_scheduler(cfg, optimizer)
    rise = cfg.SOLVER.WARMUP_ITERS / cfg.SOLVER.MAX_ITER
    if not 0 < rise < 1:
        raise UsageError(
            f"OneCycleLR with SOLVER.WARMUP_ITERS {cfg.SOLVER.WARMUP_ITERS}, expected more "
            f"than 0 and less than SOLVER.MAX_ITER, {cfg.SOLVER.MAX_ITER}"
        )
    parts = [CosineParamScheduler(1 / 25, 1), CosineParamScheduler(1, 1e-4)]
    cycle = CompositeParamScheduler(parts, [rise, 1 - rise], ["rescaled", "rescaled"])
    return LRMultiplier(optimizer, cycle, max_iter=cfg.SOLVER.MAX_ITER)
