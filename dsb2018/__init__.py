"""Nuclei segmentation in microscopy images on Detectron2."""

import os

__version__ = "0.1.0"

# Before it is loaded, because ONNX Runtime would report its use to its vendor.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")


def __getattr__(name: str):
    """`from dsb2018 import Predictor`, which imports torch only then."""
    if name == "Predictor":
        from dsb2018.inference.predictor import Predictor

        return Predictor
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
