"""What Detectron2 release 0.6 (November 2021) needs on today's Python, NumPy, Pillow and torch.

`apply()` is called by each package of this project that imports Detectron2, before it does so.
Every repair first looks whether the thing is missing, so nothing happens on Detectron2's main
branch or on older libraries. No other module of this project knows of these differences.
"""

import importlib.util
import random
import sys
import types
import warnings

import numpy as np
import torch
from PIL import Image


def apply() -> list[str]:
    """Applies the repairs that are needed here; returns their names (empty: none was needed).

    Raises:
        ImportError: Detectron2 is not installed; the message says how to install it.
    """
    if importlib.util.find_spec("detectron2") is None:
        raise ImportError(
            "detectron2 is not installed in this Python. Install it with "
            "`python tools/install_detectron2.py` (no compiler needed), or run `make install`."
        )
    # What others call; no user of this project can change that.
    warnings.filterwarnings("ignore", r"`torch\.jit\.script` is deprecated", FutureWarning)
    warnings.filterwarnings("ignore", r"torch\.meshgrid: in an upcoming release", UserWarning)
    repairs = (
        _numpy_aliases,
        _pillow_linear,
        _scheduler_base_class,
        _missing_extension,
        _export_without_caffe2,
        _map_dataset_fallback,
    )
    return [repair.__name__.strip("_") for repair in repairs if repair()]


def _numpy_aliases() -> bool:
    """`np.int`, `np.float`, `np.object`, `np.bool`: removed in NumPy 1.24 (`np.bool` is back)."""
    aliases = {"int": int, "float": float, "object": object, "bool": bool}
    missing = {name: kind for name, kind in aliases.items() if name not in np.__dict__}
    if not missing or not _is_release_06():
        return False
    for name, kind in missing.items():
        setattr(np, name, kind)
    return True


def _pillow_linear() -> bool:
    """`Image.LINEAR`: a default argument in `detectron2.data.transforms`, gone in Pillow 10."""
    if hasattr(Image, "LINEAR") or not _is_release_06():
        return False
    Image.LINEAR = Image.Resampling.BILINEAR
    return True


def _scheduler_base_class() -> bool:
    """Lets the `LRScheduler` hook save the state of torch's own schedulers.

    The hook asks for `_LRScheduler`, which torch's schedulers stopped deriving from in 2.0. The
    old name becomes the new base class; classes derived from the old one derive from both.
    """
    schedulers = torch.optim.lr_scheduler
    old, new = schedulers._LRScheduler, getattr(schedulers, "LRScheduler", None)
    if new is None or old is new or not _is_release_06():
        return False
    schedulers._LRScheduler = new
    return True


def _missing_extension() -> bool:
    """Stands in for `detectron2._C`, the compiled operators, where the wheel was built without.

    Only rotated boxes, deformable convolution and the C++ COCO evaluation need it, and this
    project uses none of them. Without the stand-in, importing `detectron2.layers` fails.
    """
    name = "detectron2._C"
    if name in sys.modules or importlib.util.find_spec(name) is not None:
        return False
    stand_in = types.ModuleType(name, "Empty: Detectron2 was installed without its C++ sources.")
    # The report on the environment, at the start of each run, asks the extension for these.
    stand_in.get_compiler_version = stand_in.get_cuda_version = lambda: "not compiled"
    stand_in.has_cuda = lambda: False
    stand_in.__spec__ = importlib.util.spec_from_loader(name, loader=None)
    sys.modules[name] = stand_in
    return True


def _export_without_caffe2() -> bool:
    """Lets `detectron2.export` be imported: its `api` module needs Caffe2, which is no more.

    The Caffe2 exporters are then absent; `TracingAdapter` and the TorchScript tools work.
    """
    name = "detectron2.export.api"
    if name in sys.modules or not _is_release_06() or importlib.util.find_spec("caffe2"):
        return False
    sys.modules[name] = types.ModuleType(name, "Empty: it needs Caffe2.")
    return True


def _map_dataset_fallback() -> bool:
    """`MapDataset` draws a replacement with `random.sample(set)`, an error since Python 3.11.

    The draw is made from a list, as on Detectron2's main branch.
    """
    if sys.version_info < (3, 11) or not _is_release_06():
        return False
    from detectron2.data import common

    if isinstance(common.random, _RandomModule):
        return False
    common.random = _RandomModule(common.random)
    return True


class _RandomModule:
    """The module `random`, but for a `Random` whose `sample` takes a set."""

    def __init__(self, module: types.ModuleType):
        self._module = module

    def __getattr__(self, name):
        return getattr(self._module, name)

    class Random(random.Random):
        def sample(self, population, k, **kwargs):
            if isinstance(population, (set, frozenset)):
                population = list(population)
            return super().sample(population, k, **kwargs)


def _is_release_06() -> bool:
    """Whether this is the release. Upstream main calls itself 0.6 too, but has `utils.tracing`."""
    return importlib.util.find_spec("detectron2.utils.tracing") is None
