import json
import os
import signal
import subprocess
import sys

import pytest

from dsb2018.errors import UsageError
from dsb2018.io.locking import LOCK_FILE, lock_folder

HOLD = """
import sys, time
from pathlib import Path
from dsb2018.io.locking import lock_folder
with lock_folder(Path(sys.argv[1]), "training", "OUTPUT_DIR"):
    print("held", flush=True)
    time.sleep(100)
"""


@pytest.fixture
def holder(tmp_path):
    """Another process that has locked the folder."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.wait()


def test_second_process_raises(tmp_path, holder):
    message = rf"another training \(process {holder.pid} on .* choose another OUTPUT_DIR"
    with pytest.raises(UsageError, match=message), lock_folder(tmp_path, "training", "OUTPUT_DIR"):
        pass


def test_folder_of_a_killed_process_is_unlocked(tmp_path, holder):
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    with lock_folder(tmp_path, "training", "OUTPUT_DIR"):
        assert json.loads((tmp_path / LOCK_FILE).read_text())["pid"] == os.getpid()


def test_folder_is_unlocked_at_the_end(tmp_path):
    for _ in range(2):
        with lock_folder(tmp_path / "new", "prediction", "--output"):
            pass
    assert (tmp_path / "new" / LOCK_FILE).read_text() == ""


def test_damaged_lock_file(tmp_path, holder):
    (tmp_path / LOCK_FILE).write_text("noise")
    with (
        pytest.raises(UsageError, match="another process is using this folder"),
        lock_folder(tmp_path, "training", "OUTPUT_DIR"),
    ):
        pass


def test_links_and_pipes_as_lock_file_raise(tmp_path):
    victim = tmp_path / "victim.txt"
    victim.write_text("mine")
    for create in (lambda path: path.symlink_to(victim), os.mkfifo):
        folder = tmp_path / create.__name__
        folder.mkdir()
        create(folder / LOCK_FILE)
        with pytest.raises(ValueError, match="lock"), lock_folder(folder, "training", "x"):
            pass
    assert victim.read_text() == "mine"


def test_file_instead_of_folder_raises(tmp_path):
    (tmp_path / "file").touch()
    with (
        pytest.raises(UsageError, match="OUTPUT_DIR .*file: not a folder"),
        lock_folder(tmp_path / "file", "training", "OUTPUT_DIR"),
    ):
        pass
