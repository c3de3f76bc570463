"""Files of weights, which may come from strangers: read without running any code in them."""

import pickle
import zipfile
from typing import ClassVar

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from dsb2018.io.files import check_regular_file


class DamagedWeightsError(ValueError):
    """A file of weights cannot be read."""


READING_ERRORS = (
    *(SafetensorError, zipfile.BadZipFile, pickle.UnpicklingError, RuntimeError, EOFError),
    *(AttributeError, KeyError, IndexError, TypeError, ValueError),  # of what pickle makes of noise
)


def read_weights(filename: str) -> dict:
    """Reads safetensors, a checkpoint of torch, or a pickle of Detectron2's model zoo.

    Returns:
        The weights by name under "model", and what else the file holds.

    Raises:
        DamagedWeightsError: the file is damaged, or holds something else.
    """
    try:
        checkpoint = _read(filename)
        check_tensors(checkpoint["model"])
    except READING_ERRORS as error:
        reason = str(error).strip().split("\n")[0] or type(error).__name__
        raise DamagedWeightsError(
            f"{filename}: damaged, or not a file of weights ({reason})"
        ) from error
    return checkpoint


def _read(filename: str) -> dict:
    check_regular_file(filename)
    if filename.endswith(".safetensors"):
        return {"model": load_file(filename)}
    if filename.endswith(".pkl"):
        with open(filename, "rb") as file:
            content = ArraysUnpickler(file, encoding="latin1").load()
        if "model" in content and "__author__" in content:
            return content
        weights = content.get("blobs", content)  # of Caffe2
        weights = {k: v for k, v in weights.items() if not k.endswith("_momentum")}
        return {"model": weights, "__author__": "Caffe2", "matching_heuristics": True}
    if zipfile.is_zipfile(filename):
        with zipfile.ZipFile(filename) as archive:  # torch does not look at the checksums
            if any(item.compress_type != zipfile.ZIP_STORED for item in archive.infolist()):
                raise zipfile.BadZipFile("compressed, which torch never does")
            if (damaged := archive.testzip()) is not None:
                raise zipfile.BadZipFile(f"wrong checksum of {damaged}")
    content = torch.load(filename, map_location="cpu", weights_only=True)
    if "model_state" in content:  # of pycls
        weights = content["model_state"]
        weights = {k: v for k, v in weights.items() if not k.endswith("num_batches_tracked")}
        return {"model": weights, "__author__": "pycls", "matching_heuristics": True}
    return content if "model" in content else {"model": content}


def check_tensors(weights: object) -> None:
    """
    Raises:
        TypeError: not a dict of dense tensors or arrays by name.
    """
    if not isinstance(weights, dict) or not weights:
        raise TypeError("it holds no weights by name")
    for name, values in weights.items():
        is_dense = torch.is_tensor(values) and values.layout == torch.strided
        if not isinstance(name, str) or not (is_dense or isinstance(values, np.ndarray)):
            raise TypeError(f"{name!r} is no dense tensor")


class ArraysUnpickler(pickle.Unpickler):
    """Reads the model zoo's files, which are pickles of NumPy arrays; anything else in them, which
    could run code, is refused."""

    ALLOWED: ClassVar = {
        ("collections", "OrderedDict"),
        ("_codecs", "encode"),
        ("numpy", "dtype"),
        ("numpy", "ndarray"),
        *((f"numpy.{core}.multiarray", "_reconstruct") for core in ("core", "_core")),
        *((f"numpy.{core}.multiarray", "scalar") for core in ("core", "_core")),
    }

    def find_class(self, module: str, name: str):
        """The class or function of a pickle.

        Raises:
            UnpicklingError: one that arrays do not need.
        """
        if (module, name) not in self.ALLOWED:
            raise pickle.UnpicklingError(f"it holds {module}.{name}, which could run code")
        return super().find_class(module, name)
