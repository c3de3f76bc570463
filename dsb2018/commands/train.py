"""What `tools/train_net.py` does."""

import argparse
import sys

from detectron2.engine import default_argument_parser

from dsb2018.cli import exit_status, run_command
from dsb2018.engine import run
from dsb2018.engine.interruption import Interrupted
from dsb2018.engine.processes import launch, needs_processes
from dsb2018.options import add_data_option


def argument_parser(text: str | None = None) -> argparse.ArgumentParser:
    """Detectron2's arguments, and `--data`.

    Args:
        text: the tool's docstring: the purpose, an empty line, and what comes after the options.
    """
    purpose, _, details = (text or "").partition("\n\n")
    parser = default_argument_parser(details or None)
    parser.description = purpose
    add_data_option(parser)
    return parser


def main(arguments: list[str] | None = None, text: str | None = None) -> int:
    """Trains or evaluates, in as many processes as the arguments ask for.

    Returns:
        The exit status, see `dsb2018.cli`.
    """
    return run_command(argument_parser(text), run_all, arguments)


def run_all(args: argparse.Namespace) -> int:
    """All processes of a run; returns the exit status."""
    if needs_processes(args):
        return launch(run_spawned, args)
    return run_process(args)


def run_process(args: argparse.Namespace) -> int:
    """`run` as one of several processes, or as the only one.

    Returns:
        The exit status, which of a process that was asked to stop is 128 + the signal's number.
    """
    try:
        run(args)
    except Interrupted as stop:
        return stop.exit_status
    return 0


def run_spawned(args: argparse.Namespace) -> None:
    """`run_process` for a process that a launcher has started."""
    if status := exit_status(run_process, args):
        sys.exit(status)
