"""Optimizers and learning rate schedules."""

from functools import partial

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
        optimizer_class, clip = classes[cfg.SOLVER.OPTIMIZER], cfg.SOLVER.CLIP_GRADIENTS
        clip_norms = clip.ENABLED and clip.CLIP_TYPE == "norm"
        if not clip_norms:
            optimizer_class = maybe_add_gradient_clipping(cfg, optimizer_class)
        optimizer = optimizer_class(
            parameters, lr=cfg.SOLVER.BASE_LR, weight_decay=cfg.SOLVER.WEIGHT_DECAY
        )
        if clip_norms:
            clipper = partial(_clip_norms, limit=clip.CLIP_VALUE, kind=clip.NORM_TYPE)
            optimizer.register_step_pre_hook(clipper)
        return optimizer
    raise UsageError(f"SOLVER.OPTIMIZER {cfg.SOLVER.OPTIMIZER!r}, expected SGD, ADAM or ADAMW")


def _clip_norms(optimizer: torch.optim.Optimizer, *_, limit: float, kind: float) -> None:
    """Clips the norm of the gradient of each parameter, as Detectron2 does, but all at once.

    On a GPU, a step of the light U-Net would otherwise launch hundreds of small kernels for it.

    Args:
        optimizer: optimizer whose parameters have gradients.
        limit: largest norm of a gradient.
        kind: 2 for the Euclidean norm; see `torch.linalg.vector_norm`.
    """
    for group in optimizer.param_groups:
        gradients = [p.grad for p in group["params"] if p.grad is not None]
        factors = torch._foreach_norm(gradients, kind)
        torch._foreach_add_(factors, 1e-6)
        torch._foreach_reciprocal_(factors)
        torch._foreach_mul_(factors, limit)
        torch._foreach_clamp_max_(factors, 1.0)
        torch._foreach_mul_(gradients, factors)


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
