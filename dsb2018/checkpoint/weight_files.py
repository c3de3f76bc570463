"""Safe reading of untrusted weight files: no code in a file is run."""

import pickle
import zipfile
from typing import ClassVar

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from dsb2018.errors import DamagedWeightsError
from dsb2018.io.files import check_regular_file

READING_ERRORS = (
    *(SafetensorError, zipfile.BadZipFile, pickle.UnpicklingError, RuntimeError, EOFError),
    *(AttributeError, KeyError, IndexError, TypeError, ValueError),  # pickle errors on random bytes
)


def read_weights(filename: str) -> dict:
    """Reads a safetensors file, a torch checkpoint, or a pickle of Detectron2's model zoo.

    Returns:
        {"model": {name: tensor or array}, …} with all other values of the file.

    Raises:
        DamagedWeightsError: the file is damaged or contains no weights.
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
        weights = content.get("blobs", content)  # Caffe2 format
        weights = {k: v for k, v in weights.items() if not k.endswith("_momentum")}
        return {"model": weights, "__author__": "Caffe2", "matching_heuristics": True}
    if zipfile.is_zipfile(filename):
        with zipfile.ZipFile(filename) as archive:  # torch does not verify the checksums
            if any(item.compress_type != zipfile.ZIP_STORED for item in archive.infolist()):
                raise zipfile.BadZipFile("compressed archive, expected an uncompressed one")
            if (damaged := archive.testzip()) is not None:
                raise zipfile.BadZipFile(f"wrong checksum of {damaged}")
    content = torch.load(filename, map_location="cpu", weights_only=True)
    if "model_state" in content:  # pycls format
        weights = content["model_state"]
        weights = {k: v for k, v in weights.items() if not k.endswith("num_batches_tracked")}
        return {"model": weights, "__author__": "pycls", "matching_heuristics": True}
    return content if "model" in content else {"model": content}


def check_tensors(weights: object) -> None:
    """Checks that weights are a dict of names to dense tensors or NumPy arrays.

    Raises:
        TypeError: they are not.
    """
    if not isinstance(weights, dict) or not weights:
        raise TypeError("it contains no named weights")
    for name, values in weights.items():
        is_dense = torch.is_tensor(values) and values.layout == torch.strided
        if not isinstance(name, str) or not (is_dense or isinstance(values, np.ndarray)):
            raise TypeError(f"{name!r} is not a dense tensor")


class ArraysUnpickler(pickle.Unpickler):
    """Unpickler for the model zoo, which allows NumPy arrays only.

    Other objects could run code and are refused.
    """

    ALLOWED: ClassVar = {
        ("collections", "OrderedDict"),
        ("_codecs", "encode"),
        ("numpy", "dtype"),
        ("numpy", "ndarray"),
        *((f"numpy.{core}.multiarray", "_reconstruct") for core in ("core", "_core")),
        *((f"numpy.{core}.multiarray", "scalar") for core in ("core", "_core")),
    }

    def find_class(self, module: str, name: str):
        """Returns a class or function that the pickle refers to.

        Raises:
            UnpicklingError: it is not in `ALLOWED`.
        """
        if (module, name) not in self.ALLOWED:
            raise pickle.UnpicklingError(f"it contains {module}.{name}, which could run code")
        return super().find_class(module, name)
