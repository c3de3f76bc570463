"""Trains and evaluates any model of this project.

    dsb2018 train --config-file configs/mask_rcnn/lite0_FPN.yaml
    dsb2018 train --config-file … --resume
    dsb2018 train --config-file … --eval-only MODEL.WEIGHTS dsb2018://mask_rcnn_lite0_FPN

Uses CUDA if a GPU is available, else the CPU. KEY VALUE pairs at the end override the config.
Scores are written to OUTPUT_DIR/inference/<dataset>/results.json.
"""

import argparse
import sys

from dsb2018.cli import exit_status, run_command
from dsb2018.engine import run
from dsb2018.engine.interruption import Interrupted
from dsb2018.engine.processes import launch, needs_processes
from dsb2018.errors import UsageError
from dsb2018.options import add_data_option


def training_parser() -> argparse.ArgumentParser:
    """Returns a parser for Detectron2's arguments and `--data`."""
    from detectron2.engine import default_argument_parser  # after `dsb2018.engine` has checked it

    purpose, _, details = (__doc__ or "").partition("\n\n")
    parser = default_argument_parser(details or None)
    parser.description = purpose
    add_data_option(parser)
    return parser


def main(arguments: list[str] | None = None) -> int:
    """Trains or evaluates in as many processes as the arguments ask for.

    Args:
        arguments: command line; None: that of the process.

    Returns:
        The exit status, see `dsb2018.cli`.
    """
    return run_command(training_parser(), run_all, arguments)


def run_all(args: argparse.Namespace) -> int:
    """Starts all processes of a run and returns the exit status."""
    if not args.config_file:
        raise UsageError("--config-file is needed")
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
