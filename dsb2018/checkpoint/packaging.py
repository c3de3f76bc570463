"""Packaged weights: safetensors files, each with a record and a config."""

from pathlib import Path

from safetensors.torch import save_file
from torch import nn

from dsb2018.checkpoint.weight_files import DamagedWeightsError
from dsb2018.io.files import read_json, sha256

FOLDER = Path(__file__).resolve().parents[1] / "weights"


def save_packaged(model: nn.Module, path: Path) -> None:
    """Saves the weights of a model as float16 in a safetensors file, which cannot contain code."""
    state = {
        name: (tensor.half() if tensor.is_floating_point() else tensor).contiguous().cpu()
        for name, tensor in model.state_dict().items()
    }
    save_file(state, path)


def check_packaged(file: Path) -> None:
    """Compares a file of packaged weights with the SHA-256 in its record.

    Args:
        file: the safetensors file; its record is the JSON file of the same name.

    Raises:
        DamagedWeightsError: the SHA-256 differs.
        ValueError: the record is missing or has no SHA-256.
    """
    try:
        expected = read_json(file.with_suffix(".json"))["sha256"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{file}: no SHA-256 in its record {file.stem}.json") from error
    if sha256(file) != expected:
        raise DamagedWeightsError(
            f"{file}: damaged, its SHA-256 differs from that in {file.stem}.json; install the "
            "package again"
        )
