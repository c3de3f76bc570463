"""Config: Detectron2's keys and the keys of this project, read safely from YAML and checked."""

from dsb2018 import compat

compat.require_detectron2()

from dsb2018.config.keys import (  # noqa: E402
    SEPARATIONS,
    add_dsb2018_config,
    check_separation,
    get_dsb2018_cfg,
)
from dsb2018.config.reading import ConfigError, read_config  # noqa: E402

__all__ = [
    "SEPARATIONS",
    "ConfigError",
    "add_dsb2018_config",
    "check_separation",
    "get_dsb2018_cfg",
    "read_config",
]
