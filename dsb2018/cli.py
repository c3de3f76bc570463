"""Error handling of the command-line tools.

Exit statuses:
    0: success
    1: something went wrong: damaged data, a full disk, or a file that could not be processed
    2: an argument, a config or a missing file is the cause
    130, 143: stopped by Ctrl-C, by SIGTERM
"""

import argparse
import logging
import re
import signal
import sys
import threading
import traceback
from collections.abc import Callable
from pathlib import Path

from dsb2018.errors import UsageError

logger = logging.getLogger("dsb2018")
FAILURE, USAGE, INTERRUPTED = 1, 2, 130
# Errors with a clear message. Others are bugs of this project, so their type is printed too.
EXPECTED = (OSError, ValueError, ImportError, FloatingPointError, MemoryError)


def add_debug_option(parser: argparse.ArgumentParser) -> None:
    """Adds `--debug`."""
    parser.add_argument(
        "--debug", action="store_true", help="print the whole traceback when an error occurs"
    )


def run_command(
    parser: argparse.ArgumentParser,
    command: Callable[[argparse.Namespace], int | None],
    arguments: list[str] | None = None,
) -> int:
    """Parses the arguments and runs a command. An error is printed in one line.

    Args:
        parser: parser of the command, to which `--debug` is added.
        command: function that takes the arguments and returns the exit status; None means 0.
        arguments: command line; None: that of the process.

    Returns:
        The exit status, see `dsb2018.cli`.
    """
    add_debug_option(parser)
    args = parser.parse_args(arguments)
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, _terminate)  # clean up as after Ctrl-C
    return exit_status(command, args)


def exit_status(
    command: Callable[[argparse.Namespace], int | None], args: argparse.Namespace
) -> int:
    """Runs a command with parsed arguments and returns the exit status, see `run_command`."""
    try:
        return command(args) or 0
    except KeyboardInterrupt as stop:
        report("interrupted")
        return stop_status(stop)
    except Exception as error:  # noqa: BLE001 all errors of a command are reported here
        if args.debug:
            traceback.print_exc()
        else:
            report(f"error: {describe(error)}")
        write_traceback_to_log(error)
        return USAGE if _is_usage(error) else FAILURE


class Terminated(KeyboardInterrupt):
    """Raised when SIGTERM is received."""


def _terminate(*_) -> None:
    raise Terminated


def stop_status(stop: KeyboardInterrupt) -> int:
    """Returns the exit status after Ctrl-C or SIGTERM: 128 + the number of the signal."""
    return 128 + signal.SIGTERM if isinstance(stop, Terminated) else INTERRUPTED


def _is_usage(error: Exception) -> bool:
    """Returns whether an argument or a config is the cause.

    A `FileNotFoundError` without `errno` is raised by this project for a file that the user named.
    One with `errno` comes from the operating system, for a file that the data refer to.
    """
    is_missing = isinstance(error, FileNotFoundError) and error.errno is None
    return isinstance(error, UsageError) or is_missing


def whole_number(low: int, high: int) -> Callable[[str], int]:
    """Returns an argparse type for whole numbers from `low` to `high`, both included."""

    def convert(text: str) -> int:
        if not re.fullmatch(r"-?[0-9]{1,18}", text) or not low <= int(text) <= high:
            raise argparse.ArgumentTypeError(f"{text!r}, expected a number from {low} to {high}")
        return int(text)

    return convert


def report(text: str) -> None:
    """Writes a line to the standard error stream."""
    print(text, file=sys.stderr)


def output_folder(text: str) -> Path:
    """Argparse type for the path of an output folder, which need not exist."""
    path = _output_path(text)
    if path.exists() and not path.is_dir():
        raise argparse.ArgumentTypeError(f"{text}: not a folder")
    return path


def output_file(text: str) -> Path:
    """Argparse type for the path of an output file, which need not exist."""
    path = _output_path(text)
    if path.is_dir():
        raise argparse.ArgumentTypeError(f"{text}: a folder, expected the name of a file")
    return path


def _output_path(text: str) -> Path:
    if not text.strip():  # Path("") is the working directory
        raise argparse.ArgumentTypeError("it is empty, expected a path")
    return Path(text)


def describe(error: BaseException) -> str:
    """Returns the message of an error in one line."""
    if isinstance(error, MemoryError):
        return f"not enough memory ({str(error) or 'MemoryError'})"
    if isinstance(error, OSError) and error.strerror:
        name = f"{error.filename}: " if error.filename else ""
        return f"{name}{error.strerror}"
    text = " ".join(str(error).split())
    if isinstance(error, EXPECTED) and text:
        return text
    return f"{type(error).__name__}: {text or 'no message'} (--debug prints the traceback)"


def write_traceback_to_log(error: BaseException) -> None:
    """Writes the traceback to the open log files, but not to the terminal."""
    record = logger.makeRecord(
        *(logger.name, logging.ERROR, __file__, 0, "%s", (describe(error),)),
        exc_info=(type(error), error, error.__traceback__),
    )
    for handler in logger.handlers:
        if is_log_file(handler):
            handler.handle(record)


def is_log_file(handler: logging.Handler) -> bool:
    """Returns whether a handler writes to a file."""
    name = getattr(getattr(handler, "stream", None), "name", None)
    return isinstance(name, (str, Path)) and Path(name).is_file()
