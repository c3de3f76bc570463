import importlib

import pytest

from dsb2018 import __version__
from dsb2018.commands import main as command
from dsb2018.commands.main import COMMANDS, main


def test_help_lists_all_commands(capsys):
    for arguments in ([], ["--help"], ["-h"]):
        assert main(arguments) == 0
        printed = capsys.readouterr().out
        assert all(f"\n  {name}" in printed for name in COMMANDS)
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"{__version__}\n"


@pytest.mark.parametrize("name", COMMANDS)
def test_each_command_has_a_help_that_starts_with_examples(capsys, monkeypatch, name):
    monkeypatch.setattr("sys.argv", ["dsb2018", name])
    with pytest.raises(SystemExit, match="0"):
        main([name, "--help"])
    printed = capsys.readouterr().out
    assert printed.startswith(f"usage: dsb2018 {name}")
    assert f"    dsb2018 {'train' if name == 'evaluate' else name} --" in printed


def test_unknown_command(capsys):
    assert main(["segment"]) == 2
    assert "no command 'segment'" in capsys.readouterr().err


def test_a_command_that_needs_more_packages(capsys, monkeypatch):
    def fail(name):
        raise ImportError("No module named 'torch'")

    monkeypatch.setattr(
        command, "importlib", type("Stub", (), {"import_module": staticmethod(fail)})
    )
    assert main(["train"]) == 1
    expected = (
        "error: No module named 'torch'; `pip install 'dsb2018[train]'` installs what is needed"
    )
    assert expected in capsys.readouterr().err


def test_evaluate_is_train_with_an_option(monkeypatch):
    seen = []
    train = importlib.import_module("dsb2018.commands.train")
    monkeypatch.setattr(train, "main", lambda arguments: seen.append(arguments) or 0)
    assert main(["evaluate", "--config-file", "a.yaml"]) == 0
    assert seen == [["--eval-only", "--config-file", "a.yaml"]]
