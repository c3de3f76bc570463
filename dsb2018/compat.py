"""Check that Detectron2 is installed, in a build that works with current libraries."""

import importlib.util
import warnings

INSTALL = "Install it with `python tools/install_detectron2.py`, or run `make install`."


def require_detectron2() -> None:
    """Checks that Detectron2 can be imported. Each package calls it before it imports Detectron2.

    Raises:
        ImportError: Detectron2 is not installed, or it is release 0.6 without the changes of
            `tools/install_detectron2.py`.
    """
    if importlib.util.find_spec("detectron2") is None:
        raise ImportError(f"detectron2 is not installed in this Python. {INSTALL}")
    if importlib.util.find_spec("detectron2._C") is None:
        raise ImportError(f"detectron2 was installed without its module _C. {INSTALL}")
    # Detectron2, fvcore and torchvision call torch.jit.script on import.
    warnings.filterwarnings("ignore", r"`torch\.jit\.script` is deprecated", FutureWarning)
