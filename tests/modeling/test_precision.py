import itertools
from contextlib import nullcontext

import pytest
import torch

from dsb2018.modeling import precision


def test_named_precisions():
    assert precision.choose_precision("fp32", "cpu") == torch.float32
    assert precision.choose_precision("bf16", "cpu") == torch.bfloat16
    assert precision.choose_precision("fp16", "cuda") == torch.float16
    with pytest.raises(ValueError, match="SOLVER.PRECISION 'fp8', expected one of"):
        precision.choose_precision("fp8", "cpu")
    with pytest.raises(ValueError, match="fp16 on cpu, expected a GPU; use bf16"):
        precision.choose_precision("fp16", "cpu")


@pytest.mark.parametrize("has_bf16", [True, False])
def test_auto_depends_on_the_device_and_is_logged(monkeypatch, caplog, has_bf16):
    monkeypatch.setattr(precision, "_cpu_has_bf16", lambda: has_bf16)
    monkeypatch.setattr(precision, "_is_bf16_faster", lambda: True)
    capability = (9, 0) if has_bf16 else (7, 5)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    with caplog.at_level("INFO", logger=precision.__name__):
        for device, fallback in (("cpu", torch.float32), ("cuda:0", torch.float16)):
            expected = torch.bfloat16 if has_bf16 else fallback
            assert precision.choose_precision("auto", device) == expected
            assert device in caplog.text


def test_autocast_precision():
    x = torch.randn(4, 4)
    for dtype in (torch.float32, torch.bfloat16):
        with precision.autocast(dtype, "cpu"):
            assert (x @ x).dtype == dtype


@pytest.mark.parametrize("slower", [torch.float32, torch.bfloat16])
def test_auto_is_bf16_on_a_cpu_only_if_faster(monkeypatch, slower):
    """A fake clock simulates a CPU on which one of the precisions is slower."""
    fp32, bf16 = (2.0, 1.0) if slower == torch.float32 else (1.0, 2.0)
    steps = itertools.cycle([0.0, fp32, 0.0, bf16])  # start and end of a step in each precision
    clock = itertools.accumulate(steps)

    monkeypatch.setattr(precision, "_cpu_has_bf16", lambda: True)
    monkeypatch.setattr(precision, "autocast", lambda *_: nullcontext())  # slow without bf16
    monkeypatch.setattr(precision.time, "perf_counter", lambda: next(clock))
    precision._is_bf16_faster.cache_clear()
    try:
        torch.manual_seed(0)
        expected = torch.bfloat16 if slower == torch.float32 else torch.float32
        assert precision.choose_precision("auto", "cpu") == expected
        after = torch.rand(1)
    finally:
        precision._is_bf16_faster.cache_clear()
    torch.manual_seed(0)
    assert torch.equal(torch.rand(1), after)  # the random state has not changed


def test_auto_is_fp32_for_inference_on_a_cpu(monkeypatch):
    monkeypatch.setattr(precision, "_has_bf16", lambda device: True)
    assert precision.choose_precision("auto", "cpu") == torch.bfloat16
    assert precision.inference_precision("auto", "cpu") == torch.float32
    assert precision.inference_precision("bf16", "cpu") == torch.bfloat16
    assert precision.inference_precision("auto", "cuda") == torch.bfloat16
