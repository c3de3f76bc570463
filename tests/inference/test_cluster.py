"""Tests of predictions that workers of Dask share. The workers are real processes."""

import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path
from threading import Thread, Timer
from types import SimpleNamespace

import cv2
import numpy as np
import psutil
import pytest
import tifffile

from dsb2018.commands.predict import main
from dsb2018.errors import UsageError
from dsb2018.inference import cluster
from dsb2018.inference.cluster import divide_evenly, open_client, share_files, share_parts
from tests.inference.drawing import micrograph

OUTPUTS = ("nuclei.csv", "images.csv", "labels/i0.tif", "labels/slide.tif", "coco.json")


@pytest.fixture(scope="module")
def client():
    with open_client(None, 4) as client:  # several of them are killed
        yield client


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Small images, one in tiles, and a damaged file in `in`, and the results of one process."""
    folder = tmp_path_factory.mktemp("cluster")
    (folder / "in").mkdir()
    for seed in range(5):
        cv2.imwrite(str(folder / "in" / f"i{seed}.png"), micrograph((96, 128), seed)[0])
    slide = np.tile(micrograph((160, 160), 7)[0], (1, 14))  # two blocks
    tifffile.imwrite(folder / "in" / "slide.tif", slide)
    (folder / "in" / "z_damaged.png").write_bytes(b"no image")
    assert main(arguments(folder, "alone")) == 1
    return folder


def arguments(folder, output, *options) -> list[str]:
    tiles = ["--tile", "224", "--overlap", "32", "--diameter", "20", "--format", "labels", "coco"]
    paths = ["--input", str(folder / "in"), "--output", str(folder / output)]
    return [*paths, *tiles, *options, "--debug"]  # shows where a rare error comes from


def assert_same(folder, output):
    for name in OUTPUTS:
        assert (folder / output / name).read_bytes() == (folder / "alone" / name).read_bytes(), name


@pytest.mark.parametrize("items", [[], [1], list(range(1000))])
def test_items_are_divided(items):
    parts = divide_evenly(items, workers=3)
    assert [item for part in parts for item in part] == items
    assert all(1 <= len(part) <= cluster.LARGEST_TASK for part in parts)


def test_workers_write_the_files_of_one_process(folder, client, capsys):
    address = client.scheduler_info()["address"]
    assert main(arguments(folder, "shared", "--dask", address)) == 1
    assert "z_damaged.png: not a readable image" in capsys.readouterr().err
    assert_same(folder, "shared")


def end_process(files, names):
    """Ends the worker if it gets the file `killer`."""
    assert names == frozenset(f"f{n}" for n in range(20)) | {"killer"}
    for name, path in files:
        if name == "killer":
            os.kill(os.getpid(), signal.SIGKILL)
        Path(path).write_text("done")
    return [f"{path}: failed" for name, path in files if name == "f3"]


def test_a_file_that_kills_its_worker_is_given_up(client, tmp_path):
    files = [(f"f{n}", tmp_path / f"f{n}") for n in range(20)]
    files.insert(7, ("killer", tmp_path / "killer"))
    failed = share_files(client, end_process, files)
    assert sorted(failed) == [
        f"{tmp_path / 'f3'}: failed",
        f"{tmp_path / 'killer'}: {cluster.KILLED}",
    ]
    assert all((tmp_path / f"f{n}").read_text() == "done" for n in range(20))


def end_once(folder, numbers):
    """Ends the first worker that gets the tile 5, and all that get the tile 30."""
    for number in numbers:
        mark = folder / f"killed{number}"
        if number == 30 or (number == 5 and not mark.exists()):
            mark.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        (folder / str(number)).touch()


class Tiles:
    """Shares the processing of tiles; a task of a cluster."""

    def __init__(self, folder, count):
        self.folder, self.count = folder, count

    def __call__(self, files, names):
        try:
            share_parts(Finder(self.folder), self.count, "slide: tile")
        except ValueError as error:
            return [str(error)]
        return []


class Finder:
    def __init__(self, folder):
        self.folder = folder

    def __call__(self, numbers):
        end_once(self.folder, numbers)


@pytest.mark.parametrize(("count", "failed"), [(20, []), (31, [cluster.KILLED])])
def test_tiles_are_repeated_once(client, tmp_path, count, failed):
    reasons = share_files(client, Tiles(tmp_path, count), [("slide", tmp_path)])
    if failed:
        assert reasons in (
            failed,
            [f"{tmp_path}: {cluster.KILLED}"],
        )  # the waiting task may die too
    else:
        assert reasons == []
        assert {f"{n}" for n in range(count)} <= {path.name for path in tmp_path.iterdir()}


def start(folder, output):
    code = "import sys; from dsb2018.commands.main import main; sys.exit(main(sys.argv[1:]))"
    command = [sys.executable, "-c", code, "predict"]
    command += arguments(folder, output, "--workers", "2")
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)


def wait_for(condition, seconds=60):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)


def workers_of(process) -> list[psutil.Process]:
    return [
        child
        for child in psutil.Process(process.pid).children(recursive=True)
        if "spawn_main" in " ".join(child.cmdline())
    ]


# Files that appear while the tiles and the blocks of an image are processed.
MOMENTS = {
    "tiles": ".done/slide/tiles/all/000001.npz",
    "blocks": ".done/slide/tiles/all_blocks/000000.*.npz",
}


@pytest.mark.parametrize("moment", MOMENTS)
def test_a_killed_command_is_continued(folder, moment):
    output = f"killed_{moment}"
    process = start(folder, output)
    wait_for(lambda: list((folder / output).glob(MOMENTS[moment])))
    workers = workers_of(process)
    process.kill()
    process.wait()
    wait_for(lambda: not any(worker.is_running() for worker in workers))  # they do not linger
    assert main(arguments(folder, output)) == 1
    assert_same(folder, output)


def test_a_killed_worker_is_replaced(folder):
    output = "survived"
    process = start(folder, output)
    wait_for(lambda: list((folder / output).glob(MOMENTS["blocks"])))
    for worker in workers_of(process)[:1]:
        worker.kill()
    errors = process.communicate(timeout=120)[1]
    assert process.returncode == 1
    assert errors.count("failed:") == 1  # the damaged file
    assert_same(folder, output)


def limit_files(size: int) -> None:
    """Makes this process fail, as on a full disk, when it writes a file beyond a size in bytes."""
    hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
    resource.setrlimit(resource.RLIMIT_FSIZE, (size if size else hard, hard))


def test_a_full_disk_of_one_worker(folder, client, capsys):
    address, *_ = client.scheduler_info()["workers"]
    client.run(limit_files, 1500, workers=[address])
    options = arguments(folder, "full", "--dask", client.scheduler_info()["address"])
    try:
        assert main(options) == 1
    finally:
        client.run(limit_files, 0, workers=[address])
    errors = capsys.readouterr().err
    assert "File too large" in errors
    assert 1 < errors.count("failed:") < 7  # the damaged file, and those of that worker
    assert main(options) == 1
    assert capsys.readouterr().err.count("failed:") == 1
    assert_same(folder, "full")


def test_no_scheduler(folder, monkeypatch, capsys):
    monkeypatch.setattr(cluster, "PATIENCE", 0.5)
    assert main(arguments(folder, "none", "--dask", "tcp://127.0.0.1:9")) == 2
    assert "no scheduler of Dask there" in capsys.readouterr().err
    with pytest.raises(UsageError, match="no scheduler"), open_client("nonsense://x", None):
        pass


@pytest.mark.parametrize("text", [None, "", '{"address"', "{}", "[]"])
def test_a_scheduler_file_that_stays_incomplete(tmp_path, monkeypatch, text):
    monkeypatch.setattr(cluster, "PATIENCE", 0.2)
    file = tmp_path / "scheduler.json"
    if text is not None:
        file.write_text(text)
    with (
        pytest.raises(UsageError, match="does not name a scheduler"),
        open_client(str(file), None),
    ):
        pass


def test_a_scheduler_file_that_is_written_late(tmp_path):
    file = tmp_path / "scheduler.json"
    file.touch()
    writer = Timer(0.5, lambda: file.write_text('{"address": "tcp://10.0.0.1:8786"}'))
    writer.start()
    assert cluster.read_address(file) == "tcp://10.0.0.1:8786"
    writer.join()


@pytest.mark.parametrize("is_killed", [False, True])
def test_a_scheduler_that_writes_a_file(folder, tmp_path, capsys, is_killed):
    """The commands of the script for Slurm in docs/distributed.md."""
    file = tmp_path / "scheduler.json"
    dask = [sys.executable, "-m", "dask"]
    commands = [
        ["scheduler", "--port", "0", "--dashboard-address", ":0"],
        ["worker", "--nthreads", "1"],
    ]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    processes = [
        subprocess.Popen([*dask, *command, "--scheduler-file", str(file)], **quiet)
        for command in commands
    ]
    output = f"file{is_killed}"
    try:
        wait_for(file.exists)
        if is_killed:
            record = folder / output / ".done" / "i0" / "record.json"
            killer = Thread(target=lambda: (wait_for(record.exists), processes[0].kill()))
            killer.start()
        assert main(arguments(folder, output, "--dask", str(file))) == 1
        if is_killed:
            killer.join()
            assert "the scheduler of Dask has ended" in capsys.readouterr().err
            assert main(arguments(folder, output)) == 1  # continues
        assert_same(folder, output)
    finally:
        for process in processes:
            process.terminate()
            process.wait()


def test_all_workers_have_ended(monkeypatch):
    def wait(*args, **kwargs):
        raise TimeoutError

    monkeypatch.setattr("distributed.wait", wait)
    client = SimpleNamespace(cluster=object(), scheduler_info=lambda **kwargs: {"workers": {}})
    with pytest.raises(ConnectionError, match="all workers have ended; the same command"):
        list(cluster._finished(client, [object()]))


def test_no_dask(folder, monkeypatch, capsys):
    monkeypatch.setattr(cluster, "find_spec", lambda name: None)
    assert main(arguments(folder, "none", "--workers", "2")) == 1
    assert 'pip install "dsb2018[dask]"' in capsys.readouterr().err


@pytest.mark.parametrize("options", [["--workers", "0"], ["--workers", "2", "--dask", "a:1"]])
def test_options_that_do_not_fit(folder, options):
    with pytest.raises(SystemExit, match="2"):
        main(arguments(folder, "none", *options))
