import argparse
import errno
import logging
import os
import signal
import sys

import pytest

from dsb2018.cli import output_file, output_folder, run_command, whole_number
from dsb2018.errors import UsageError


def run(command, *arguments):
    return run_command(argparse.ArgumentParser(), command, list(arguments))


def raise_error(error):
    """Returns a command that raises the error."""

    def command(args):
        raise error

    return command


@pytest.mark.parametrize(
    ("error", "status", "message"),
    [
        (UsageError("KEY 3, expected 0 to 1"), 2, "error: KEY 3, expected 0 to 1\n"),
        (FileNotFoundError("x.yaml: no such file"), 2, "error: x.yaml: no such file\n"),
        (FileNotFoundError(errno.ENOENT, "No such file", "x"), 1, "error: x: No such file\n"),
        (ValueError("x.png: damaged"), 1, "error: x.png: damaged\n"),
        (OSError(errno.ENOSPC, "No space left on device"), 1, "error: No space left on device\n"),
        (MemoryError(), 1, "error: not enough memory (MemoryError)\n"),
        (KeyError("a"), 1, "error: KeyError: 'a' (--debug prints the traceback)\n"),
        (ValueError(), 1, "error: ValueError: no message (--debug prints the traceback)\n"),
        (KeyboardInterrupt(), 130, "interrupted\n"),
    ],
)
def test_error_is_one_line_and_exit_status(capsys, error, status, message):
    assert run(raise_error(error)) == status
    assert capsys.readouterr().err == message


def test_debug_prints_the_traceback(capsys):
    assert run(raise_error(ValueError("x")), "--debug") == 1
    printed = capsys.readouterr().err
    assert "Traceback" in printed
    assert "in command" in printed


def test_exit_status_of_command():
    assert run(lambda args: None) == 0
    assert run(lambda args: 143) == 143


def test_traceback_in_log_file(tmp_path, capsys):
    logger = logging.getLogger("dsb2018")
    handlers = [logging.FileHandler(tmp_path / "log.txt"), logging.StreamHandler(sys.stdout)]
    for handler in handlers:
        logger.addHandler(handler)
    try:
        assert run(raise_error(ValueError("x"))) == 1
    finally:
        for handler in handlers:
            logger.removeHandler(handler)
            handler.close()
    assert "Traceback" in (tmp_path / "log.txt").read_text()
    assert capsys.readouterr().out == ""


def test_output_paths(tmp_path):
    assert output_folder(str(tmp_path)) == tmp_path
    assert output_file(str(tmp_path / "a")) == tmp_path / "a"
    (tmp_path / "file").touch()
    for convert, text, message in (
        (output_folder, "", "empty"),
        (output_file, "  ", "empty"),
        (output_folder, str(tmp_path / "file"), "not a folder"),
        (output_file, str(tmp_path), "expected the name of a file"),
    ):
        with pytest.raises(argparse.ArgumentTypeError, match=message):
            convert(text)


def test_whole_numbers():
    convert = whole_number(1, 10)
    assert convert("10") == 10
    for text in ("0", "11", "", "x", "²", "1.5", "9" * 5000):
        with pytest.raises(argparse.ArgumentTypeError, match="expected a number from 1 to 10"):
            convert(text)


def test_sigterm_ends_a_command(capsys):
    assert run(lambda args: os.kill(os.getpid(), signal.SIGTERM)) == 143
    assert capsys.readouterr().err == "interrupted\n"
