"""Damaged or malicious input of `prepare`: it is skipped, or the error names it."""

import bz2
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import psutil
import pytest

from dsb2018.errors import UsageError
from dsb2018.prepare import InputError, Options, input_files, prepare
from tests.conftest import rectangle
from tests.hostile import png_header

SQUARE = rectangle(1, 1, 5, 5)


def options(dsb, tmp_path, **changes):
    defaults = {"input": dsb.root, "output": tmp_path / "out", "name": "x"}
    return Options(**{**defaults, "workers": 1, "progress": False, **changes})


def broken_link(path: Path):
    path.symlink_to("missing")


def link_loop(path: Path):
    path.symlink_to(path.name)


def folder(path: Path):
    path.mkdir()


def named_pipe(path: Path):
    os.mkfifo(path)


def huge_size(path: Path):
    path.write_bytes(png_header(50_000, 50_000))


def largest_size(path: Path):
    path.write_bytes(png_header(2**31 - 1, 2**31 - 1))


def other_size(path: Path):
    path.write_bytes(png_header(11_000, 11_000))


UNREADABLE = [broken_link, link_loop, folder, named_pipe]


@pytest.mark.parametrize("make", [*UNREADABLE, huge_size, largest_size], ids=lambda f: f.__name__)
def test_unreadable_images(dsb, tmp_path, make):
    dsb.add("good", [SQUARE])
    bad = dsb.add("bad", [SQUARE]) / "images" / "bad.png"
    bad.unlink()
    make(bad)
    with pytest.raises(InputError, match=r"bad/images/bad\.png: "):
        prepare(options(dsb, tmp_path))
    prepared = prepare(options(dsb, tmp_path, skip_bad=True))
    assert prepared.datasets == {"dsb2018_x": (1, 1)}
    assert any("image skipped" in note and "bad.png" in note for note in prepared.notes)


@pytest.mark.parametrize(
    "make", [*UNREADABLE, huge_size, largest_size, other_size], ids=lambda f: f.__name__
)
def test_unreadable_masks(dsb, tmp_path, make):
    dsb.add("good", [SQUARE])
    make(dsb.add("bad", [SQUARE]) / "masks" / "001.png")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(InputError, match=r"bad/masks/001\.png: "):
        prepare(options(dsb, tmp_path))
    assert prepare(options(dsb, tmp_path, skip_bad=True)).datasets == {"dsb2018_x": (1, 1)}
    growth = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert growth < 100_000  # kilobytes; sizes are checked before memory is allocated


def test_long_image_id(dsb, tmp_path):
    dsb.root.mkdir(exist_ok=True)
    image_id = "x" * 250
    folder = dsb.add("short", [SQUARE])
    folder.rename(dsb.root / image_id)
    assert prepare(options(dsb, tmp_path)).datasets == {"dsb2018_x": (1, 1)}


def make_archive(dsb, path, compression=zipfile.ZIP_DEFLATED):
    with zipfile.ZipFile(path, "w", compression) as archive:
        for file in sorted(dsb.root.rglob("*.png")):
            archive.write(file, file.relative_to(dsb.root))
    return path


def test_zip_bomb(dsb, tmp_path, monkeypatch):
    monkeypatch.setattr(input_files, "MAX_BYTES", 1_000_000)
    dsb.add("good", [SQUARE])
    path = make_archive(dsb, tmp_path / "a.zip")
    with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("bomb/images/bomb.png", bytes(2_000_000))
        archive.writestr("bomb/masks/0.png", b"")
    with pytest.raises(InputError, match=r"bomb\.png: 2 MB \(expected at most 1 MB\)"):
        prepare(options(dsb, tmp_path, input=path))
    prepared = prepare(options(dsb, tmp_path, input=path, skip_bad=True))
    assert prepared.datasets == {"dsb2018_x": (1, 1)}


@pytest.mark.parametrize("compression", [zipfile.ZIP_LZMA, zipfile.ZIP_BZIP2, zipfile.ZIP_DEFLATED])
def test_damaged_archives(dsb, tmp_path, compression):
    dsb.add("a", [SQUARE])
    path = make_archive(dsb, tmp_path / "a.zip", compression)
    data = bytearray(path.read_bytes())
    begin = data.index(b".png") + 4
    data[begin + 12 : begin + 60] = os.urandom(48)
    path.write_bytes(data)
    with pytest.raises(InputError, match=r"a\.zip"):
        prepare(options(dsb, tmp_path, input=path))


def test_archive_made_inside_the_folder_of_an_image(dsb, tmp_path):
    dsb.add("a", [SQUARE])
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for file in (dsb.root / "a").rglob("*.png"):
            archive.write(file, str(file.relative_to(dsb.root / "a")))
    with pytest.raises(InputError, match="pass the parent folder"):
        prepare(options(dsb, tmp_path, input=path))


def test_named_pipe_as_archive(dsb, tmp_path):
    os.mkfifo(tmp_path / "a.zip")
    with pytest.raises(InputError, match=r"a\.zip.*a named pipe, expected a regular file"):
        prepare(options(dsb, tmp_path, input=tmp_path / "a.zip"))


SOLUTION = "ImageId,EncodedPixels,Height,Width,Usage\n"


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ("a,1 " + "9" * 30 + ",24,32,Public\n", "values that are not whole numbers"),
        ("a," + "9" * 18 + " " + "9" * 18 + ",24,32,Public\n", "invalid runs"),
        ("a,1 2\n", "another number of cells than the header"),
        ("a,1 2,24,32,Public,more\n", "another number of cells than the header"),
    ],
)
def test_invalid_solutions(dsb, tmp_path, rows, message):
    dsb.add("a", [])
    path = tmp_path / "solution.csv"
    path.write_text(SOLUTION + rows)
    with pytest.raises(InputError, match=rf"solution\.csv:2: .*{message}"):
        prepare(options(dsb, tmp_path, solution=path))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            b"image_id,modality,group\na,fluorescence\n",
            r":2: the row has fewer cells than the header",
        ),
        (bytes(range(128, 256)), "not a text file"),
        (bz2.compress(b"x"), "not a text file|columns .* are missing"),
    ],
)
def test_invalid_modality_files(dsb, tmp_path, content, message):
    dsb.add("a", [SQUARE])
    path = tmp_path / "modality.csv"
    path.write_bytes(content)
    with pytest.raises(InputError, match=message):
        prepare(options(dsb, tmp_path, modality=path))


def test_binary_split_list(dsb, tmp_path):
    dsb.add("a", [SQUARE])
    (tmp_path / "splits").mkdir()
    (tmp_path / "splits" / "train.txt").write_bytes(bytes(range(128, 256)))
    with pytest.raises(InputError, match=r"train\.txt: not a text file"):
        prepare(options(dsb, tmp_path, name=None, splits=tmp_path / "splits"))


@pytest.mark.parametrize("name", ["a/b", "..", "../x", "a b", "x\n"])
def test_dataset_names(dsb, tmp_path, name):
    dsb.add("a", [SQUARE])
    if name == "..":  # gives `dsb2018_...json`, which stays in its folder
        prepare(options(dsb, tmp_path, name=name))
        return
    with pytest.raises(UsageError, match="expected letters, digits"):
        prepare(options(dsb, tmp_path, name=name))


def test_other_folders_in_the_output_are_kept(dsb, tmp_path):
    dsb.add("a", [SQUARE])
    for name in (".partial-foo", ".partial-", ".partial-9999999999999"):
        (tmp_path / "out" / name).mkdir(parents=True)
    prepare(options(dsb, tmp_path))
    assert len(list((tmp_path / "out").glob(".partial-*"))) == 3


def test_sample_does_not_replace_data(tmp_path):
    from dsb2018.prepare.sample import write_sample

    (tmp_path / "stage1_train").mkdir()
    (tmp_path / "stage1_train" / "precious.txt").touch()
    with pytest.raises(ValueError, match="not deleted, because dsb2018 did not create it"):
        write_sample(tmp_path)
    assert (tmp_path / "stage1_train" / "precious.txt").exists()


def test_zip_bomb_with_a_wrong_size_in_the_directory(dsb, tmp_path):
    """Only as many bytes are unpacked as the directory of the archive states."""
    dsb.add("good", [SQUARE])
    path = make_archive(dsb, tmp_path / "a.zip")
    with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("bomb/images/bomb.png", bytes(300_000_000))
        archive.writestr("bomb/masks/0.png", b"")
    data = path.read_bytes()
    size = (300_000_000).to_bytes(4, "little")
    path.write_bytes(data.replace(size, (1000).to_bytes(4, "little")))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    prepared = prepare(options(dsb, tmp_path, input=path, skip_bad=True))
    assert prepared.datasets == {"dsb2018_x": (1, 1)}
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000  # kilobytes


def test_too_many_overlapping_masks(dsb, tmp_path):
    dsb.add("good", [SQUARE])
    dsb.add("bad", [SQUARE] * 101)
    with pytest.raises(InputError, match="more than 100 nuclei lie on top of each other"):
        prepare(options(dsb, tmp_path))
    assert prepare(options(dsb, tmp_path, skip_bad=True)).datasets == {"dsb2018_x": (1, 1)}


def test_links_to_themselves(dsb, tmp_path):
    dsb.add("good", [SQUARE])
    (dsb.root / "loop").symlink_to("loop")
    folder = dsb.add("inner", [SQUARE])
    shutil.rmtree(folder / "images")
    (folder / "images").symlink_to("images")
    prepared = prepare(options(dsb, tmp_path, skip_bad=True))
    assert prepared.datasets == {"dsb2018_x": (1, 1)}
    assert len([note for note in prepared.notes if "image skipped" in note]) == 2


def test_folder_name_that_is_not_utf8(dsb, tmp_path):
    dsb.add("good", [SQUARE])
    os.mkdir(os.fsencode(dsb.root) + b"/bad\xff")
    prepared = prepare(options(dsb, tmp_path, skip_bad=True))
    assert prepared.datasets == {"dsb2018_x": (1, 1)}
    assert "image skipped" in (tmp_path / "out" / "report.txt").read_text()


PREPARE = """
import sys
from dsb2018.prepare import Options, prepare
prepare(Options(sys.argv[1], sys.argv[2], name="x", workers=2, progress=False))
"""


@pytest.mark.parametrize("signal_number", [signal.SIGTERM, signal.SIGKILL])
def test_workers_end_with_a_killed_preparation(dsb, tmp_path, signal_number):
    for index in range(400):
        dsb.add(f"i{index}", [SQUARE] * 5)
    command = [sys.executable, "-c", PREPARE, str(dsb.root), str(tmp_path / "out")]
    with subprocess.Popen(command) as process:
        parent = psutil.Process(process.pid)
        while not (workers := parent.children()):
            time.sleep(0.01)
        process.send_signal(signal_number)
    _, alive = psutil.wait_procs(workers, timeout=20)
    assert not alive
