"""The arithmetic that a network runs in."""

import functools
import logging
import time
from contextlib import AbstractContextManager, nullcontext

import torch
from detectron2.utils import comm
from torch import nn

PRECISIONS = ("auto", "fp32", "bf16", "fp16")
logger = logging.getLogger(__name__)


def choose_precision(wanted: str, device: str) -> torch.dtype:
    """torch.float32, or torch.bfloat16 or torch.float16 for autocast.

    Args:
        wanted: "fp32", "bf16", "fp16", or "auto": on a GPU bfloat16 where its hardware has it, else
            float16; on a processor bfloat16 where that is faster, which is tried out, else float32.
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
        wanted = comm.all_gather(wanted)[0]  # processes that train together compute alike
        logger.info("SOLVER.PRECISION auto: %s on %s", wanted, device)
    return {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}[wanted]


def inference_precision(wanted: str, device: str) -> torch.dtype:
    """`choose_precision` for a trained model: "auto" is float32 on a processor, since what is
    found must not depend on how busy it was when the two were tried out."""
    on_cpu = torch.device(device).type == "cpu"
    return choose_precision("fp32" if wanted == "auto" and on_cpu else wanted, device)


def _has_bf16(device: str) -> bool:
    if torch.device(device).type == "cuda":
        # Older ones only emulate it; AMD's, which PyTorch also calls "cuda", all have it.
        return bool(torch.version.hip) or torch.cuda.get_device_capability(device)[0] >= 8
    return torch.device(device).type == "cpu" and _cpu_has_bf16() and _bf16_pays_off()


def _cpu_has_bf16() -> bool:
    """Whether the processor has bfloat16 instructions; without them bfloat16 is slow."""
    asked = getattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)
    return bool(asked())


@functools.cache
def _bf16_pays_off() -> bool:
    """Whether a small training step on the processor is faster in bfloat16 than in float32.

    Having the instructions says little: a U-Net trains 3 times as fast with them on one processor
    and slower on another. Takes half a second, once; no random state is touched.
    """
    with torch.random.fork_rng(devices=[]):
        network = nn.Sequential(
            *(nn.Conv2d(32, 32, 3, padding=1), nn.BatchNorm2d(32), nn.ReLU()),
            *(nn.Conv2d(32, 32, 3, padding=1), nn.BatchNorm2d(32), nn.ReLU()),
        ).to(memory_format=torch.channels_last)
        image = torch.rand(4, 32, 128, 128).to(memory_format=torch.channels_last)
    times = {torch.float32: [], torch.bfloat16: []}
    for _ in range(4):
        for precision, measured in times.items():
            start = time.perf_counter()
            with torch.enable_grad(), autocast(precision, "cpu"):
                loss = network(image).float().sum()
            loss.backward()
            measured.append(time.perf_counter() - start)
    fp32, bf16 = (min(measured[1:]) for measured in times.values())  # the first ones warm up
    logger.info("a training step in bf16 takes %.2f of its time in fp32", bf16 / fp32)
    return bf16 < 0.9 * fp32


def autocast(precision: torch.dtype, device: str) -> AbstractContextManager:
    """A context in which networks run in the precision."""
    if precision == torch.float32:
        return nullcontext()
    return torch.autocast(torch.device(device).type, precision)
