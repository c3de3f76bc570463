"""Finds and opens the model that a user means: in ONNX Runtime or in torch.

A packaged model with an ONNX network runs in ONNX Runtime, which needs neither torch nor Detectron2
and starts at once. Other models, and GPUs, need torch.
"""

import importlib.util
import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dsb2018.cores import usable_cores
from dsb2018.errors import UsageError
from dsb2018.inference.opened_model import DEFAULT, OpenedModel, is_config
from dsb2018.io.files import sha256
from dsb2018.runtime.onnx_model import OnnxModel
from dsb2018.runtime.packaged import FOLDER, check_packaged, find_packaged
from dsb2018.runtime.scaling import ScaledModel

BACKENDS = ("auto", "torch", "onnxruntime")
SUFFIX, PACKAGE_SUFFIX, WEIGHTS_SUFFIX = ".onnx", ".zip", ".safetensors"


def open_model(
    model: str | os.PathLike | None = None,
    weights: str | os.PathLike | None = None,
    *,
    options: Sequence = (),
    backend: str = "auto",
    threshold: float | None = None,
) -> OpenedModel:
    """Opens a model.

    Args:
        model: name of a packaged model, see `find_packaged`; an ONNX file; a package of bioimage.io
            (a zip file); a config (YAML); or the OUTPUT_DIR of a training. None: `DEFAULT`.
        weights: file or address, as for `MODEL.WEIGHTS`, instead of those that belong to the model.
        options: KEY, VALUE, … that override the config, such as `MODEL.DEVICE`, `cuda`.
        backend: "onnxruntime", "torch" or "auto": ONNX Runtime for an ONNX file or a package of
            bioimage.io, and for a packaged model without other weights and options unless there is
            a GPU.
        threshold: minimum probability of a nucleus, 0 to 1; None: that of the model.

    Raises:
        FileNotFoundError: the model or its weights do not exist.
        ImportError: the model needs torch or Detectron2, which is not installed.
        UsageError: unknown model or backend, or the backend cannot run the model.
        ValueError: the weights are damaged or belong to another model.
    """
    if backend not in BACKENDS:
        raise UsageError(f"backend {backend!r}, expected one of {', '.join(BACKENDS)}")
    path = _find_onnx(model, weights, options, backend)
    if path:
        return _open_onnx(path, threshold)
    if backend == "onnxruntime":
        raise UsageError(
            f"{weights or model or DEFAULT}: backend onnxruntime, expected an ONNX file, which "
            "`dsb2018 export` writes; it contains the options of its config"
        )
    if importlib.util.find_spec("torch") is None:
        raise ImportError(
            f"{weights or model or DEFAULT}: this model needs torch, which is not installed; "
            "pip install 'dsb2018[train]', then Detectron2 (see the README)"
        )
    from dsb2018.inference.torch_models import open_torch_model  # imports torch: some seconds

    return open_torch_model(model, weights, options, threshold)


def _find_onnx(
    model: str | os.PathLike | None,
    weights: str | os.PathLike | None,
    options: Sequence,
    backend: str,
) -> Path | None:
    """Returns the ONNX file, or the package of bioimage.io, to run; None for torch."""
    given = [Path(file) for file in (model, weights) if file]
    files = [file for file in given if file.suffix in (SUFFIX, PACKAGE_SUFFIX)]
    if files:
        if backend == "torch" or options or (model and weights):
            raise UsageError(
                f"{files[0]}: this file contains its config; leave out other models, options "
                "and the backend torch"
            )
        return files[0]
    if weights or options or backend == "torch" or is_config(model):
        return None
    file = FOLDER / f"{find_packaged(str(model or DEFAULT))}{SUFFIX}"
    if not file.exists() or (backend == "auto" and has_gpu()):
        return None
    check_packaged(file)
    check_packaged(file.with_suffix(WEIGHTS_SUFFIX))
    return file


def has_gpu() -> bool:
    """Returns whether torch may run on a GPU. Torch is not imported, which takes seconds."""
    return importlib.util.find_spec("torch") is not None and shutil.which("nvidia-smi") is not None


def _open_onnx(path: Path, threshold: float | None) -> OpenedModel:
    threads = int(os.environ.get("OMP_NUM_THREADS", 0)) or usable_cores()
    if path.suffix == PACKAGE_SUFFIX:
        from dsb2018.inference.bioimageio_models import open_package  # few users need it

        network = open_package(path, threads, threshold)
    else:
        network = OnnxModel(path, threads=threads, threshold=threshold)
    run: Any = network
    if network.spec.diameter:
        run = ScaledModel(network, network.spec.diameter, network.spec.max_size)
    files = [path, path.with_suffix(WEIGHTS_SUFFIX)]  # packaged networks refer to their weights
    fingerprint = " ".join([*(sha256(file) for file in files if file.exists()), str(threshold)])
    return OpenedModel(network.spec, run, threads, fingerprint)
