"""Weights and checkpoints: names, file formats, safe loading and packaging."""

from dsb2018 import compat

compat.require_detectron2()

from dsb2018.checkpoint.checkpointer import NucleiCheckpointer, numbered_checkpoints  # noqa: E402
from dsb2018.checkpoint.named_weights import find_weights  # noqa: E402
from dsb2018.runtime.packaged import FOLDER  # noqa: E402

__all__ = ["FOLDER", "NucleiCheckpointer", "find_weights", "numbered_checkpoints"]
