import argparse
import errno
import logging
import sys

import pytest

from dsb2018.cli import output_path, run_command
from dsb2018.errors import UsageError


def run(command, *arguments):
    return run_command(argparse.ArgumentParser(), command, list(arguments))


def failing(error):
    def command(args):
        raise error

    return command


@pytest.mark.parametrize(
    ("error", "status", "message"),
    [
        (UsageError("KEY 3, expected 0 to 1"), 2, "error: KEY 3, expected 0 to 1\n"),
        (FileNotFoundError("x.yaml: no such file"), 2, "error: x.yaml: no such file\n"),
        (FileNotFoundError(errno.ENOENT, "No such file", "x"), 2, "error: x: No such file\n"),
        (ValueError("x.png: damaged"), 1, "error: x.png: damaged\n"),
        (OSError(errno.ENOSPC, "No space left on device"), 1, "error: No space left on device\n"),
        (MemoryError(), 1, "error: not enough memory (MemoryError)\n"),
        (KeyError("a"), 1, "error: KeyError: 'a' (--debug prints the traceback)\n"),
        (ValueError(), 1, "error: ValueError: no message (--debug prints the traceback)\n"),
        (KeyboardInterrupt(), 130, "interrupted\n"),
    ],
)
def test_an_error_is_one_line_and_a_status(capsys, error, status, message):
    assert run(failing(error)) == status
    assert capsys.readouterr().err == message


def test_debug_prints_the_traceback(capsys):
    assert run(failing(ValueError("x")), "--debug") == 1
    printed = capsys.readouterr().err
    assert "Traceback" in printed
    assert "in command" in printed


def test_status_of_the_command():
    assert run(lambda args: None) == 0
    assert run(lambda args: 143) == 143


def test_the_log_file_has_the_traceback(tmp_path, capsys):
    logger = logging.getLogger("dsb2018")
    handlers = [logging.FileHandler(tmp_path / "log.txt"), logging.StreamHandler(sys.stdout)]
    for handler in handlers:
        logger.addHandler(handler)
    try:
        assert run(failing(ValueError("x"))) == 1
    finally:
        for handler in handlers:
            logger.removeHandler(handler)
            handler.close()
    assert "Traceback" in (tmp_path / "log.txt").read_text()
    assert capsys.readouterr().out == ""


def test_output_must_not_be_empty():
    assert str(output_path("a/b")) == "a/b"
    for empty in ("", "  "):
        with pytest.raises(argparse.ArgumentTypeError, match="empty"):
            output_path(empty)
