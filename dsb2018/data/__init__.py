"""Registered Detectron2 datasets, and the mappers and loaders that make model inputs of them."""

from dsb2018 import compat

compat.require_detectron2()

from dsb2018.data.catalog import (  # noqa: E402
    check_annotations,
    check_registered,
    load_dataset,
    register_dsb2018,
    unregister_dsb2018,
)
from dsb2018.data.mapper import EvaluationMapper, TrainingMapper  # noqa: E402

__all__ = [
    "EvaluationMapper",
    "TrainingMapper",
    "check_annotations",
    "check_registered",
    "load_dataset",
    "register_dsb2018",
    "unregister_dsb2018",
]
