"""Tests with real processes that are launched, stopped, killed and resumed."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from argparse import Namespace
from types import SimpleNamespace

import psutil
import pytest
import torch

from dsb2018.checkpoint import numbered_checkpoints
from dsb2018.data import unregister_dsb2018
from dsb2018.engine import processes, run
from tests.configs import CONFIGS
from tests.engine.test_training import arguments, losses_of

ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore"}
LAUNCHER = [sys.executable, "-m", "torch.distributed.run"]
# All crops have the same size. Losses are means over pixels, so with different sizes they would
# depend on how a batch is divided between processes.
OPTIONS = ["INPUT.ZOOM_TRAIN", "[1.0,1.0]", "SOLVER.IMS_PER_BATCH", "4", "SOLVER.PRECISION", "fp32"]
OPTIONS += ["TEST.OVERLAYS", "3", "SOLVER.CHECKPOINT_PERIOD", "4", "SOLVER.WARMUP_ITERS", "2"]


def train_net(root, output, *options, family="unet/unet"):
    """Returns the command line of a small run."""
    args = arguments(root, output, *OPTIONS, *options, family=family)
    flags = [option for option in options if option.startswith("--")]
    command = ["--config-file", str(CONFIGS / f"{family}.yaml"), "--data", str(root), *flags]
    return ["tools/train_net.py", *command, *args.opts]


@pytest.fixture
def start(project):
    """Returns a function that starts a command. All processes are killed after the test."""
    started = []

    def run_command(*command):
        process = subprocess.Popen(
            command,
            cwd=project,
            env=ENVIRONMENT,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,  # its own process group, as in a terminal
        )
        started.append(process)
        return process

    yield run_command
    for process in started:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


def finish(process, status=0):
    """Waits until a process ends, checks its exit status and returns its output."""
    output, _ = process.communicate(timeout=300)
    assert process.returncode == status, output
    return output


def results_of(output):
    path = output / "inference" / "dsb2018_sample_val" / "results.json"
    return json.loads(path.read_text())


def wait_for(path, process):
    """Waits until a process has written a file."""
    for _ in range(4800):
        if path.exists():
            return
        assert process.poll() is None, process.communicate()[0]
        time.sleep(0.05)
    raise TimeoutError(path)


@pytest.fixture(autouse=True)
def _unregister_datasets():
    unregister_dsb2018()
    yield
    unregister_dsb2018()


def test_two_processes_match_one(sample_root, tmp_path, start):
    """Losses are the same. Scores of the same weights are the same, and count each image once."""
    family = "unet/unet_light"  # with batch normalization
    alone, together, evaluated = (tmp_path / name for name in ("one", "two", "evaluated"))
    command = train_net(sample_root, together, "--num-gpus=2", family=family)
    process = start(sys.executable, *command)
    results = run(arguments(sample_root, alone, *OPTIONS, family=family))
    finish(process)
    losses = losses_of(together)
    assert losses == pytest.approx(losses_of(alone), rel=1e-3)
    for task, scores in results_of(together).items():
        assert scores.keys() == results[task].keys()
    options = ["--eval-only", "MODEL.WEIGHTS", str(together / "model_final.pth")]
    run(arguments(sample_root, evaluated, *OPTIONS, *options, family=family))
    for task, scores in results_of(together).items():  # other threads may round differently
        assert results_of(evaluated)[task] == pytest.approx(scores, abs=0.01, nan_ok=True)
    folder = together / "inference" / "dsb2018_sample_val"
    assert len((folder / "images.csv").read_text().splitlines()) == 1 + 8
    assert len(list((folder / "overlays").glob("*.png"))) == 3


ENDLESS = ["SOLVER.MAX_ITER", "100000", "DATALOADER.NUM_WORKERS", "1", "DATASETS.TEST", "()"]


def resume_three_iterations(root, output, last):
    """Resumes a run after iteration `last` and trains for three more iterations."""
    args = arguments(root, output, *OPTIONS, *ENDLESS, "--resume", family="unet/unet")
    args.opts += ["SOLVER.MAX_ITER", str(last + 4)]
    run(args)
    assert torch.load(output / "model_final.pth")["iteration"] == last + 3
    assert f"Starting training from iteration {last + 1}" in (output / "log.txt").read_text()


EVALUATING = ["DATASETS.TEST", "('dsb2018_sample_val',)", "TEST.EVAL_PERIOD", "1"]


@pytest.mark.parametrize(
    ("number", "options"),
    [
        (signal.SIGTERM, []),
        (signal.SIGINT, EVALUATING),
        (signal.SIGTERM, ["--num-gpus=2"]),
    ],
)
def test_stopped_run_can_be_resumed(sample_root, tmp_path, start, number, options):
    command = train_net(sample_root, tmp_path, *ENDLESS, *options)
    process = start(sys.executable, *command)
    evaluated = "inference/dsb2018_sample_val/results.json"
    wait_for(tmp_path / (evaluated if options == EVALUATING else "model_0000003.pth"), process)
    if "--num-gpus=2" in options:
        process.send_signal(number)  # the launcher forwards it
    else:
        os.killpg(process.pid, number)  # all processes get it, also those that load data
    output = finish(process, status=128 + number)
    assert "--resume continues from there" in output
    assert "Traceback" not in output
    last = (tmp_path / "last_checkpoint").read_text()
    iteration = torch.load(tmp_path / last)["iteration"]
    assert last == f"model_{iteration:07d}.pth"
    resume_three_iterations(sample_root, tmp_path, iteration)


def test_killed_run_can_be_resumed(sample_root, tmp_path, start):
    """The run writes large checkpoints, so that it is probably killed while it writes one."""
    checkpoints_often = ["SOLVER.CHECKPOINT_PERIOD", "1", "MODEL.UNET.WIDTH", "32"]
    command = train_net(sample_root, tmp_path, *ENDLESS, *checkpoints_often)
    process = start(sys.executable, *command)
    wait_for(tmp_path / "model_0000005.pth", process)
    process.kill()
    finish(process, status=-signal.SIGKILL)
    (tmp_path / ".model_0000099.pth.half").touch()
    checkpoints = numbered_checkpoints(tmp_path)
    for path in checkpoints:
        assert torch.load(path)["iteration"] == int(path.stem.split("_")[1])
    last = (tmp_path / "last_checkpoint").read_text()
    assert last in [path.name for path in checkpoints[:2]]
    options = [*OPTIONS, *ENDLESS, *checkpoints_often, "--resume"]
    args = arguments(sample_root, tmp_path, *options, family="unet/unet")
    args.opts += ["SOLVER.MAX_ITER", str(int(last[6:13]) + 2)]
    run(args)
    assert not list(tmp_path.glob(".model_*"))


def test_two_machines_survive_the_failure_of_one(sample_root, tmp_path, start, monkeypatch):
    """The commands of the script for Slurm in docs/distributed.md, as two launchers.

    SIGKILL cannot be handled, so torchrun restarts all processes, and the training resumes.
    """
    monkeypatch.setitem(ENVIRONMENT, "TORCH_DISABLE_SHARE_RDZV_TCP_STORE", "1")
    options = ["--resume", "SOLVER.MAX_ITER", "16", "DATASETS.TEST", "()"]
    command = train_net(sample_root, tmp_path, *options)
    port = free_port()
    elastic = ["--nnodes=2", "--nproc-per-node=1", "--max-restarts=3", "--rdzv-id=job"]
    elastic += ["--rdzv-backend=c10d", f"--rdzv-endpoint=127.0.0.1:{port}"]
    launchers = [start(*LAUNCHER, *elastic, *command)]
    wait_until_open(port)  # the first one is the meeting point
    launchers.append(start(*LAUNCHER, *elastic, *command))
    wait_for(tmp_path / "model_0000003.pth", launchers[0])
    (child,) = psutil.Process(launchers[1].pid).children()
    launchers[1].kill()
    child.kill()
    launchers[1] = start(*LAUNCHER, *elastic, *command)  # the machine comes back
    for launcher in launchers:
        finish(launcher)
    log = (tmp_path / "log.txt").read_text()
    starts = [line for line in log.splitlines() if "Starting training from iteration" in line]
    assert int(starts[0].split()[-1]) == 0
    assert int(starts[-1].split()[-1]) >= 4
    assert torch.load(tmp_path / "model_final.pth")["iteration"] == 15


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def wait_until_open(port: int) -> None:
    for _ in range(600):
        with socket.socket() as client:
            if client.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.1)
    pytest.fail("nothing listens")


def test_error_in_one_process_ends_the_command(sample_root, tmp_path, start):
    command = train_net(sample_root, tmp_path, "--num-gpus=2", "SOLVER.IMS_PER_BATCH", "3")
    output = finish(start(sys.executable, *command), status=2)
    assert "error: SOLVER.IMS_PER_BATCH 3, expected a multiple of" in output
    assert "ended with exit status 2; its message is above" in output
    assert "Traceback" not in output


def test_several_machines_need_dist_url():
    args = Namespace(num_gpus=8, num_machines=2, machine_rank=1, dist_url="auto")
    with pytest.raises(ValueError, match=r"--dist-url auto, expected tcp://HOST:PORT"):
        processes._launch_config(args)
    args.dist_url = "tcp://node0:1234"
    config = processes._launch_config(args)
    assert (config.min_nodes, config.max_nodes, config.nproc_per_node) == (2, 2, 8)
    assert (config.rdzv_backend, config.rdzv_endpoint) == ("static", "node0:1234")
    assert config.rdzv_configs["rank"] == 1


def test_more_processes_than_gpus(monkeypatch):
    for name, value in {"RANK": 0, "WORLD_SIZE": 2, "LOCAL_RANK": 0, "LOCAL_WORLD_SIZE": 2}.items():
        monkeypatch.setenv(name, str(value))
    monkeypatch.setattr(torch, "cuda", SimpleNamespace(device_count=lambda: 1))
    with (
        pytest.raises(ValueError, match="2 processes, but 1 GPUs on this machine"),
        processes.process_group("cuda"),
    ):
        pytest.fail("the process group must not be created")
