"""The fuzzer itself: `make fuzz` runs it for longer."""

import random

import pytest

from tests import fuzz
from tests.hostile import png_header


@pytest.mark.parametrize("name", sorted(fuzz.READERS))
def test_every_reader_reads_its_own_file(name, tmp_path):
    ending, make, read = fuzz.READERS[name]
    path = tmp_path / f"x{ending}"
    path.write_bytes(make())
    if name.startswith("weights"):  # the names of the weights are not the model's
        return
    read(path)


def test_mutations_follow_from_the_seed():
    data = fuzz.archive()
    first, again, other = (fuzz.mutate(data, random.Random(seed)) for seed in (1, 1, 2))
    assert first == again != other
    assert data not in (first, other)


def test_check_sums_are_mended():
    data = png_header(4, 4)
    broken = bytearray(data)
    broken[29:33] = bytes(4)
    assert fuzz.mend_png(bytes(broken)) == data


def test_faults_are_counted_and_kept(tmp_path, monkeypatch, capsys):
    def read(path):
        raise KeyError("x")

    monkeypatch.setitem(fuzz.READERS, "faulty", (".txt", lambda: b"abc" * 9, read))
    counts = fuzz.fuzz_reader("faulty", 0, 0.3, tmp_path)
    assert counts["fault"] == counts.total() > 0
    assert len(list(tmp_path.glob("faulty-*.txt"))) == counts["fault"]
    assert "KeyError" in capsys.readouterr().out
