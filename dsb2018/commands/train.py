"""Implementation of `tools/train_net.py`."""

import argparse
import sys

from dsb2018.cli import exit_status, run_command
from dsb2018.engine import run
from dsb2018.engine.interruption import Interrupted
from dsb2018.engine.processes import launch, needs_processes
from dsb2018.options import add_data_option


def training_parser(text: str | None = None) -> argparse.ArgumentParser:
    """Returns a parser for Detectron2's arguments and `--data`.

    Args:
        text: docstring of the tool: purpose, empty line, and the text after the options.
    """
    from detectron2.engine import default_argument_parser  # after `dsb2018.engine` has checked it

    purpose, _, details = (text or "").partition("\n\n")
    parser = default_argument_parser(details or None)
    parser.description = purpose
    add_data_option(parser)
    return parser


def main(arguments: list[str] | None = None, text: str | None = None) -> int:
    """Trains or evaluates in as many processes as the arguments ask for.

    Args:
        arguments: command line; None: that of the process.
        text: docstring of the tool, see `training_parser`.

    Returns:
        The exit status, see `dsb2018.cli`.
    """
    return run_command(training_parser(text), run_all, arguments)


def run_all(args: argparse.Namespace) -> int:
    """Starts all processes of a run and returns the exit status."""
    if needs_processes(args):
        return launch(run_spawned, args)
    return run_process(args)


def run_process(args: argparse.Namespace) -> int:
    """Trains or evaluates in this process, which may be one of several.

    Returns:
        The exit status: 0, or 128 + the number of the signal that stopped the process.
    """
    try:
        run(args)
    except Interrupted as stop:
        return stop.exit_status
    return 0


def run_spawned(args: argparse.Namespace) -> None:
    """Calls `run_process` in a process that a launcher started, and exits if it fails."""
    if status := exit_status(run_process, args):
        sys.exit(status)
