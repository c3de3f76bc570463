"""The trained models in this package: weights, config and record of each, and its ONNX network."""

from pathlib import Path

from dsb2018.errors import DamagedWeightsError, UsageError
from dsb2018.io.files import read_json, sha256

FOLDER = Path(__file__).resolve().parents[1] / "weights"
PREFIX = "dsb2018://"


def packaged_names() -> list[str]:
    """Returns the names of all packaged models."""
    return sorted(file.stem for file in FOLDER.glob("*.json"))


def find_packaged(name: str) -> str:
    """Returns the name of the packaged model that a user means.

    Args:
        name: name, with or without `dsb2018://`, or a part of it that only one model has, such as
            "light" or "mask_rcnn".

    Raises:
        UsageError: there is no such model, or there are several.
    """
    names, part = packaged_names(), name.removeprefix(PREFIX)
    matches = [part] if part in names else [full for full in names if part and part in full]
    if len(matches) != 1:
        raise UsageError(
            f"model {name!r}, expected {', '.join(names)} (or a part of one name, such as fast), "
            "an ONNX file, a package of bioimage.io (zip), a config (YAML), or the folder of a "
            "training"
        )
    return matches[0]


def check_packaged(file: Path) -> None:
    """Compares a file of a packaged model with the SHA-256 in its record.

    Args:
        file: weights (safetensors) or network (ONNX); the record is the JSON file of the same name.

    Raises:
        DamagedWeightsError: the SHA-256 differs.
        ValueError: the record is missing or has no SHA-256.
    """
    key = "onnx_sha256" if file.suffix == ".onnx" else "sha256"
    try:
        expected = read_json(file.with_suffix(".json"))[key]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{file}: no SHA-256 in its record {file.stem}.json") from error
    if sha256(file) != expected:
        raise DamagedWeightsError(
            f"{file}: damaged, its SHA-256 differs from that in {file.stem}.json; install the "
            "package again"
        )
