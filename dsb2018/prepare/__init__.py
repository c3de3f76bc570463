"""Converts DSB folders, archives and CSV files to COCO JSON. Does not import torch."""

from dsb2018.errors import InputError
from dsb2018.prepare.pipeline import Options, PreparationResult, prepare

__all__ = ["InputError", "Options", "PreparationResult", "prepare"]
