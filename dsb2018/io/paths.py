"""The location of the prepared data."""

import os
from pathlib import Path


def prepared_root(root: str | os.PathLike | None = None) -> Path:
    """Returns the folder of the prepared data.

    This is the argument, else `$DETECTRON2_DATASETS/dsb2018`, else `./datasets/dsb2018`.
    """
    if root:
        return Path(root)
    return Path(os.environ.get("DETECTRON2_DATASETS", "datasets")) / "dsb2018"
