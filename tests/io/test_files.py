import os
import subprocess
import sys

import pytest

from dsb2018.io.files import MARK, staging_folder, write_atomically


def test_write_replaces_an_old_file(tmp_path):
    path = tmp_path / "folder" / "file.txt"
    write_atomically(path, "old")
    write_atomically(path, b"new")
    assert path.read_text() == "new"
    assert os.listdir(path.parent) == ["file.txt"]


def test_failed_write_keeps_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "file.txt"
    write_atomically(path, "old")

    def full_disk(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full_disk)
    with pytest.raises(OSError, match="No space"):
        write_atomically(path, "new")
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["file.txt"]


def test_staging_folder_is_deleted_after_an_error(tmp_path):
    def fail_halfway():
        with staging_folder(tmp_path) as folder:
            (folder / "half").write_text("x")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail_halfway()
    assert os.listdir(tmp_path) == []


def test_staging_folder_of_a_killed_process_is_deleted(tmp_path):
    code = (
        "import os, sys\nfrom pathlib import Path\n"
        "from dsb2018.io.files import MARK, staging_folder\n"
        "with staging_folder(Path(sys.argv[1])) as folder:\n"
        "    (folder / 'half').write_text('x'); os.kill(os.getpid(), 9)\n"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=False)
    assert len(os.listdir(tmp_path)) == 1
    with staging_folder(tmp_path) as folder:
        assert os.listdir(tmp_path) == [folder.name]


def test_staging_folder_of_an_earlier_process_with_the_same_id_is_deleted(tmp_path):
    left_over = tmp_path / f".partial-{os.getpid()}-abc"
    left_over.mkdir()
    (left_over / MARK).touch()
    (left_over / "half").write_text("x")
    with staging_folder(tmp_path) as folder:
        assert os.listdir(tmp_path) == [folder.name]
        assert os.listdir(folder) == [MARK]


def test_folders_with_similar_names_are_kept(tmp_path):
    (tmp_path / ".partial-999999-abc").mkdir()
    (tmp_path / ".partial-999999").mkdir()
    with staging_folder(tmp_path):
        assert len(os.listdir(tmp_path)) == 3
