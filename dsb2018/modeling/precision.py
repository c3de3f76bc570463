"""The floating-point precision that a network computes in."""

import functools
import logging
import time
from contextlib import AbstractContextManager, nullcontext

import torch
from detectron2.utils import comm
from torch import nn

PRECISIONS = ("auto", "fp32", "bf16", "fp16")
logger = logging.getLogger(__name__)


def choose_precision(name: str, device: str) -> torch.dtype:
    """Returns the dtype for `autocast`: torch.float32, torch.bfloat16 or torch.float16.

    Args:
        name: "fp32", "bf16", "fp16" or "auto". On a GPU, "auto" is bfloat16 if the hardware has
            it, else float16. On a CPU, "auto" is bfloat16 if a short measurement shows that it is
            faster, else float32.
        device: see `MODEL.DEVICE`.

    Raises:
        ValueError: unknown precision, or float16 without a GPU.
    """
    if name not in PRECISIONS:
        raise ValueError(f"SOLVER.PRECISION {name!r}, expected one of {PRECISIONS}")
    on_gpu = torch.device(device).type == "cuda"
    if name == "fp16" and not on_gpu:
        raise ValueError(f"SOLVER.PRECISION fp16 on {device}, expected a GPU; use bf16 or fp32")
    if name == "auto":
        name = "bf16" if _has_bf16(device) else "fp16" if on_gpu else "fp32"
        name = comm.all_gather(name)[0]  # the same in all training processes
        logger.info("SOLVER.PRECISION auto: %s on %s", name, device)
    return {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}[name]


def inference_precision(name: str, device: str) -> torch.dtype:
    """Returns the precision of a trained model, as `choose_precision` does.

    On a CPU, "auto" is float32: predictions must not depend on a measurement of speed, which varies
    with the load of the machine.
    """
    on_cpu = torch.device(device).type == "cpu"
    return choose_precision("fp32" if name == "auto" and on_cpu else name, device)


def _has_bf16(device: str) -> bool:
    """Whether the device has bfloat16 and, on a CPU, is faster with it."""
    if torch.device(device).type == "cuda":
        # Older NVIDIA GPUs only emulate bfloat16. All AMD GPUs, also "cuda" in PyTorch, have it.
        return bool(torch.version.hip) or torch.cuda.get_device_capability(device)[0] >= 8
    return torch.device(device).type == "cpu" and _cpu_has_bf16() and _is_bf16_faster()


def _cpu_has_bf16() -> bool:
    """Whether the CPU has bfloat16 instructions. Without them, bfloat16 is slow."""
    is_supported = getattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)
    return bool(is_supported())


@functools.cache
def _is_bf16_faster() -> bool:
    """Whether a small training step on the CPU is faster in bfloat16 than in float32.

    The instructions alone do not tell: with them, a U-Net trains 3 times as fast on one processor
    and slower on another. The measurement takes half a second, runs once, and does not change the
    random state.
    """
    with torch.random.fork_rng(devices=[]):
        network = nn.Sequential(
            *(nn.Conv2d(32, 32, 3, padding=1), nn.BatchNorm2d(32), nn.ReLU()),
            *(nn.Conv2d(32, 32, 3, padding=1), nn.BatchNorm2d(32), nn.ReLU()),
        ).to(memory_format=torch.channels_last)
        image = torch.rand(4, 32, 128, 128).to(memory_format=torch.channels_last)
    times = {torch.float32: [], torch.bfloat16: []}
    for _ in range(4):
        for precision, seconds in times.items():
            start = time.perf_counter()
            with torch.enable_grad(), autocast(precision, "cpu"):
                loss = network(image).float().sum()
            loss.backward()
            seconds.append(time.perf_counter() - start)
    fp32, bf16 = (min(seconds[1:]) for seconds in times.values())  # the first step is a warm-up
    logger.info("a training step in bf16 takes %.2f times as long as in fp32", bf16 / fp32)
    return bf16 < 0.9 * fp32


def autocast(precision: torch.dtype, device: str) -> AbstractContextManager:
    """Returns a context manager in which networks run in the precision."""
    if precision == torch.float32:
        return nullcontext()
    return torch.autocast(torch.device(device).type, precision)
