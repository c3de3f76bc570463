"""What all command-line tools share: how an error ends them.

Exit statuses are 0 where all is done; 1 where something went wrong: damaged data, a full disk, a
file that failed; 2 where what the user wrote cannot be used: an argument, a config, a missing file;
and 130 after Ctrl-C.
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
WRONG, USAGE, INTERRUPTED = 1, 2, 130
# The command can end with one line; others are a fault of this project, and their type says more.
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
    """Parses arguments and runs a command; an error becomes one line and an exit status.

    Args:
        parser: of the command; `--debug` is added.
        command: from arguments to the exit status; None: 0.
        arguments: None: those of the process.

    Returns:
        The exit status, see the module.
    """
    add_debug_option(parser)
    args = parser.parse_args(arguments)
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, _terminate)  # an orderly end, as of Ctrl-C
    return exit_status(command, args)


def exit_status(
    command: Callable[[argparse.Namespace], int | None], args: argparse.Namespace
) -> int:
    """Runs a command; see `run_command`."""
    try:
        return command(args) or 0
    except KeyboardInterrupt as stop:
        report("interrupted")
        return stop_status(stop)
    except Exception as error:  # noqa: BLE001 the one place where every error ends
        if args.debug:
            traceback.print_exc()
        else:
            report(f"error: {describe(error)}")
        write_traceback_to_log(error)
        return USAGE if _is_usage(error) else WRONG


class Terminated(KeyboardInterrupt):
    """SIGTERM came."""


def _terminate(*_) -> None:
    raise Terminated


def stop_status(stop: KeyboardInterrupt) -> int:
    """The exit status after Ctrl-C or SIGTERM, as shells have it."""
    return 128 + signal.SIGTERM if isinstance(stop, Terminated) else INTERRUPTED


def _is_usage(error: Exception) -> bool:
    """Whether an argument or a config is the cause.

    A missing file that our own code reports was named by the user. One that the operating system
    reports, with an `errno`, is a file that the data refer to.
    """
    is_missing = isinstance(error, FileNotFoundError) and error.errno is None
    return isinstance(error, UsageError) or is_missing


def whole_number(low: int, high: int) -> Callable[[str], int]:
    """The type of an argument that is a whole number from `low` to `high`."""

    def convert(text: str) -> int:
        if not re.fullmatch(r"-?[0-9]{1,18}", text) or not low <= int(text) <= high:
            raise argparse.ArgumentTypeError(f"{text!r}, expected a number from {low} to {high}")
        return int(text)

    return convert


def report(text: str) -> None:
    """Writes a line to the standard error stream."""
    print(text, file=sys.stderr)


def output_folder(text: str) -> Path:
    """The type of an `--output` argument that names a folder."""
    path = _output_path(text)
    if path.exists() and not path.is_dir():
        raise argparse.ArgumentTypeError(f"{text}: not a folder")
    return path


def output_file(text: str) -> Path:
    """The type of an `--output` argument that names a file."""
    path = _output_path(text)
    if path.is_dir():
        raise argparse.ArgumentTypeError(f"{text}: a folder, expected the name of a file")
    return path


def _output_path(text: str) -> Path:
    if not text.strip():  # it would be the working directory
        raise argparse.ArgumentTypeError("it is empty, expected a path")
    return Path(text)


def describe(error: BaseException) -> str:
    """What happened, in one line."""
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
    """Writes the traceback to log files that are open, not to the terminal."""
    record = logger.makeRecord(
        *(logger.name, logging.ERROR, __file__, 0, "%s", (describe(error),)),
        exc_info=(type(error), error, error.__traceback__),
    )
    for handler in logger.handlers:
        if is_log_file(handler):
            handler.handle(record)


def is_log_file(handler: logging.Handler) -> bool:
    """Whether a handler writes to a file, not to the terminal."""
    name = getattr(getattr(handler, "stream", None), "name", None)
    return isinstance(name, (str, Path)) and Path(name).is_file()
