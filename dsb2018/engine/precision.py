"""The arithmetic that a network runs in."""

import logging
from contextlib import AbstractContextManager, nullcontext

import torch

PRECISIONS = ("auto", "fp32", "bf16", "fp16")
logger = logging.getLogger(__name__)


def choose_precision(wanted: str, device: str) -> torch.dtype:
    """torch.float32, or torch.bfloat16 or torch.float16 for autocast.

    Args:
        wanted: "fp32", "bf16", "fp16", or "auto": bfloat16 where the device multiplies it in
            hardware, else float16 on a GPU and float32 on a processor.
        device: as in `MODEL.DEVICE`.

    Raises:
        ValueError: another word, or float16 elsewhere than on a GPU.
    """
    if wanted not in PRECISIONS:
        raise ValueError(f"SOLVER.PRECISION {wanted!r}, expected one of {PRECISIONS}")
    on_gpu = torch.device(device).type == "cuda"
    if wanted == "fp16" and not on_gpu:
        raise ValueError(f"SOLVER.PRECISION fp16 on {device}: only a GPU is fast at it; use bf16")
    if wanted == "auto":
        wanted = "bf16" if _has_bf16(device) else "fp16" if on_gpu else "fp32"
        logger.info("SOLVER.PRECISION auto: %s on %s", wanted, device)
    return {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}[wanted]


def _has_bf16(device: str) -> bool:
    if torch.device(device).type == "cuda":
        # Older ones only emulate it; AMD's, which PyTorch also calls "cuda", all have it.
        return bool(torch.version.hip) or torch.cuda.get_device_capability(device)[0] >= 8
    return torch.device(device).type == "cpu" and _cpu_has_bf16()


def _cpu_has_bf16() -> bool:
    """Whether the processor has bfloat16 instructions; without them bfloat16 is slow."""
    asked = getattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)
    return bool(asked())


def autocast(precision: torch.dtype, device: str) -> AbstractContextManager:
    """A context in which networks run in the precision."""
    if precision == torch.float32:
        return nullcontext()
    return torch.autocast(torch.device(device).type, precision)
