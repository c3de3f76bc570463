"""The command `dsb2018`: chooses one of the commands of this package by its first argument."""

import importlib
import sys

from dsb2018 import __version__
from dsb2018.cli import FAILURE, USAGE, describe, report

# {name: (module, arguments that come first, purpose)}
COMMANDS = {
    "predict": ("predict", [], "find and measure the nuclei in images"),
    "prepare": ("prepare", [], "prepare images and their ground truth for training"),
    "train": ("train", [], "train a model"),
    "finetune": ("finetune", [], "train a model further on a few images of your own"),
    "evaluate": ("train", ["--eval-only"], "compute the scores of a trained model"),
    "benchmark": ("benchmark", [], "compare models and other tools"),
    "tune": ("tune_instances", [], "choose the thresholds of a model"),
    "export": ("export", [], "export a model to ONNX, or as a package of bioimage.io"),
    "visualize": ("visualize", [], "show datasets and training samples"),
}


def usage() -> str:
    """Returns the help: all commands and their purpose."""
    lines = [f"  {name:<11}{purpose}" for name, (_, _, purpose) in COMMANDS.items()]
    return "\n".join(
        [
            f"dsb2018 {__version__}: nuclei in microscopy images",
            "",
            "  dsb2018 predict --input my_images --output results",
            "",
            "Commands; `dsb2018 COMMAND --help` shows the options of each:",
            *lines,
        ]
    )


def main(arguments: list[str] | None = None) -> int:
    """Runs a command.

    Args:
        arguments: name of the command and its arguments; None: those of the process.

    Returns:
        The exit status, see `dsb2018.cli`.
    """
    name, *rest = (sys.argv[1:] if arguments is None else arguments) or ["--help"]
    if name in ("-h", "--help", "--version"):
        print(__version__ if name == "--version" else usage())
        return 0
    if name not in COMMANDS:
        report(f"error: no command {name!r}\n\n{usage()}")
        return USAGE
    module, first, _ = COMMANDS[name]
    sys.argv[0] = f"dsb2018 {name}"  # the name that argparse prints
    try:
        command = importlib.import_module(f"dsb2018.commands.{module}")
    except ImportError as error:
        message = describe(error)
        if "install" not in message:
            message += "; `pip install 'dsb2018[train]'` installs what is needed"
        report(f"error: {message}")
        return FAILURE
    return command.main([*first, *rest])
