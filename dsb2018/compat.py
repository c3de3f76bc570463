"""Detectron2 must be there, in a build that today's libraries can import."""

import importlib.util
import warnings

INSTALL = "Install it with `python tools/install_detectron2.py`, or run `make install`."


def require_detectron2() -> None:
    """Called by each package that imports Detectron2, before it does so.

    Raises:
        ImportError: Detectron2 is not installed, or it is release 0.6 without the repairs that
            `tools/install_detectron2.py` makes; the message says what to do.
    """
    if importlib.util.find_spec("detectron2") is None:
        raise ImportError(f"detectron2 is not installed in this Python. {INSTALL}")
    if importlib.util.find_spec("detectron2._C") is None:
        raise ImportError(f"detectron2 was installed without its module _C. {INSTALL}")
    # Detectron2, fvcore and torchvision call it on import; no user of this project can change that.
    warnings.filterwarnings("ignore", r"`torch\.jit\.script` is deprecated", FutureWarning)
