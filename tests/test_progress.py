import sys

from dsb2018 import progress as module
from dsb2018.progress import progress


def test_a_line_now_and_then_in_a_log(monkeypatch, capsys):
    clock = iter(range(0, 1000, 10))
    monkeypatch.setattr(module.time, "monotonic", lambda: next(clock))
    assert list(progress("abcdefg", "image", 7)) == list("abcdefg")
    assert capsys.readouterr().err.splitlines() == [
        "image 3 of 7 done, about 0:00:40 left",
        "image 6 of 7 done, about 0:00:10 left",
    ]


def test_nothing_for_short_loops(capsys):
    assert list(progress([1, 2], "image", 2)) == [1, 2]
    assert list(progress([], "image", 0)) == []
    assert capsys.readouterr().err == ""


def test_a_bar_on_a_terminal(monkeypatch, capsys):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    assert list(progress([1, 2], "image", 2)) == [1, 2]
    assert "/2" in capsys.readouterr().err
