"""Training and evaluation."""

from dsb2018 import compat

compat.require_detectron2()

from dsb2018.engine.setup import run, setup  # noqa: E402
from dsb2018.engine.trainer import Trainer  # noqa: E402

__all__ = ["Trainer", "run", "setup"]
