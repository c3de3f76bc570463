"""From DSB folders, archives and CSVs to COCO JSON; runs without torch, so it starts at once."""

from dsb2018.prepare.errors import BadInput
from dsb2018.prepare.pipeline import Options, Prepared, prepare

__all__ = ["BadInput", "Options", "Prepared", "prepare"]
