"""Training and evaluation: what joins data, models and metrics."""

from dsb2018 import compat

compat.require_detectron2()

from dsb2018.engine.setup import argument_parser, main, run, setup  # noqa: E402
from dsb2018.engine.trainer import Trainer  # noqa: E402

__all__ = ["Trainer", "argument_parser", "main", "run", "setup"]
