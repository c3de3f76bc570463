"""What a user names as a model, and what opening it gives."""

import os
from pathlib import Path
from typing import Any, NamedTuple

from dsb2018.runtime.model_spec import ModelSpec

DEFAULT = "nuclei"  # name of a packaged model


class OpenedModel(NamedTuple):
    """A trained model.

    Args:
        spec: how images enter the model, and how its maps become nuclei.
        run: maps inputs to predictions, at the scale of the model.
        threads: number of threads that the model uses if nothing else is set.
        fingerprint: hash of everything that the results of the model depend on.
    """

    spec: ModelSpec
    run: Any
    threads: int
    fingerprint: str


def is_config(model: str | os.PathLike | None) -> bool:
    """Returns whether a model is a config, or a folder with one."""
    if model is None:
        return False
    return Path(model).suffix in (".yaml", ".yml") or (Path(model) / "config.yaml").is_file()
