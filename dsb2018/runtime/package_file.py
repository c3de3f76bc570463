"""The files of a package of bioimage.io, a zip archive."""

import zipfile
from pathlib import Path
from typing import Any

import yaml

from dsb2018.io.names import printable

DESCRIPTION = "bioimageio.yaml"
DESCRIPTIONS = (DESCRIPTION, "rdf.yaml")  # the second one is the name of older packages
NETWORK = "network.onnx"  # in packages of this software
SPEC_KEY = "spec"  # in their description, under config and dsb2018
LARGEST = 1 << 20  # of a description, bytes


def read_description(path: Path) -> dict[str, Any]:
    """Reads the description of a package, which may come from anybody.

    Raises:
        FileNotFoundError: the file does not exist.
        ValueError: it is not a package.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            names = [name for name in DESCRIPTIONS if name in archive.namelist()]
            if not names or archive.getinfo(names[0]).file_size > LARGEST:
                raise ValueError("no description")
            content = yaml.safe_load(archive.read(names[0]))
    except (zipfile.BadZipFile, yaml.YAMLError, ValueError, RecursionError) as error:
        raise ValueError(
            f"{printable(path)}: not a package of bioimage.io ({type(error).__name__})"
        ) from error
    if not isinstance(content, dict) or content.get("type") != "model":
        raise ValueError(f"{printable(path)}: not a package of bioimage.io with a model")
    return content


def is_own(description: dict[str, Any]) -> bool:
    """Returns whether `dsb2018 export` wrote the package of a description."""
    config = description.get("config")
    own = config.get("dsb2018") if isinstance(config, dict) else None
    return isinstance(own, dict) and SPEC_KEY in own
