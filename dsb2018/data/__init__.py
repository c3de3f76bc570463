"""Prepared data as Detectron2 datasets, and the mapper that feeds models."""

from dsb2018 import compat

compat.require_detectron2()

from dsb2018.data.catalog import (  # noqa: E402
    check_registered,
    load_dataset,
    register_dsb2018,
    unregister_dsb2018,
)
from dsb2018.data.mapper import NucleiMapper  # noqa: E402

__all__ = [
    "NucleiMapper",
    "check_registered",
    "load_dataset",
    "register_dsb2018",
    "unregister_dsb2018",
]
