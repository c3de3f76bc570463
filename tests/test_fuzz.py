"""Tests of the fuzzer. `make fuzz` runs the fuzzer itself."""

import random

import pytest

from tests import fuzz
from tests.hostile import png_header


@pytest.mark.parametrize("name", sorted(fuzz.READERS))
def test_readers_read_files_without_mutations(name, tmp_path):
    extension, make, read = fuzz.READERS[name]
    path = tmp_path / f"x{extension}"
    path.write_bytes(make())
    if name.startswith("weights"):  # these are not the weights of the model
        return
    read(path)


def test_mutations_are_reproducible():
    data = fuzz.zip_archive()
    first, second, other_seed = (fuzz.mutate(data, random.Random(seed)) for seed in (1, 1, 2))
    assert first == second != other_seed
    assert data not in (first, other_seed)


def test_correct_checksums():
    data = png_header(4, 4)
    damaged = bytearray(data)
    damaged[29:33] = bytes(4)
    assert fuzz.correct_checksums(bytes(damaged)) == data


def test_faults_are_counted_and_written(tmp_path, monkeypatch, capsys):
    def read(path):
        raise KeyError("x")

    monkeypatch.setitem(fuzz.READERS, "faulty", (".txt", lambda: b"abc" * 9, read))
    counts = fuzz.fuzz_reader("faulty", 0, 0.3, tmp_path)
    assert counts["fault"] == counts.total() > 0
    assert len(list(tmp_path.glob("faulty-*.txt"))) == counts["fault"]
    assert "KeyError" in capsys.readouterr().out
