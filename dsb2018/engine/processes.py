"""Distributed training and evaluation on one or many machines, on GPUs or CPUs.

The processes are started by `torchrun`, or by the options `--num-gpus` and `--num-machines`.
"""

import argparse
import logging
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from urllib.parse import urlparse

import torch
from detectron2.utils import comm
from torch import distributed, nn
from torch.distributed.elastic.multiprocessing.api import SignalException
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
from torch.distributed.launcher.api import LaunchConfig, elastic_launch
from torch.nn.parallel import DistributedDataParallel

from dsb2018.cli import report
from dsb2018.errors import UsageError
from dsb2018.modeling.sync_batch_norm import synchronize_batch_norm

logger = logging.getLogger(__name__)


def under_torchrun() -> bool:
    """Returns whether a launcher such as torchrun started this process."""
    return "RANK" in os.environ and "WORLD_SIZE" in os.environ


def was_restarted() -> bool:
    """Returns whether the launcher restarted the processes after a failure."""
    return int(os.environ.get("TORCHELASTIC_RESTART_COUNT", 0)) > 0


def needs_processes(args: argparse.Namespace) -> bool:
    """Returns whether the arguments ask for several processes that are not started yet."""
    return not under_torchrun() and args.num_gpus * args.num_machines > 1


def launch(run: Callable[[argparse.Namespace], object], args: argparse.Namespace) -> int:
    """Calls `run(args)` in as many processes as the arguments ask for.

    Args:
        run: function at the top level of a module, so that new processes can import it.
        args: `num_gpus` (processes per machine), `num_machines`, `machine_rank` and `dist_url`.

    Returns:
        The exit status: 0, or the status of the first process that failed.

    Raises:
        UsageError: there are several machines, and `dist_url` is not the address of the first.
    """
    if not vars(args).get("debug"):  # each process reports its own error in one line
        logging.getLogger("torch.distributed.elastic").setLevel(logging.CRITICAL)
    try:
        elastic_launch(_launch_config(args), run)(args)
    except SignalException as stop:  # the processes got it too and saved a checkpoint
        return 128 + stop.sigval
    except ChildFailedError as error:
        rank, failure = error.get_first_failure()
        report(
            f"error: process {rank} of {args.num_gpus * args.num_machines} ended with exit status "
            f"{failure.exitcode}; its message is above"
        )
        return failure.exitcode if failure.exitcode > 0 else 128 - failure.exitcode
    return 0


def _launch_config(args: argparse.Namespace) -> LaunchConfig:
    config = LaunchConfig(
        min_nodes=args.num_machines,
        max_nodes=args.num_machines,
        nproc_per_node=args.num_gpus,
        run_id="dsb2018",
        max_restarts=0,
        start_method="spawn",
        rdzv_backend="c10d",
        rdzv_endpoint="localhost:0",
    )
    if args.num_machines > 1:
        url = urlparse(args.dist_url)
        if url.scheme != "tcp" or not url.hostname or not url.port:
            raise UsageError(
                f"--dist-url {args.dist_url}, expected tcp://HOST:PORT of the first of the "
                f"{args.num_machines} machines"
            )
        config.rdzv_backend = "static"
        config.rdzv_endpoint = f"{url.hostname}:{url.port}"
        config.rdzv_configs = {"rank": args.machine_rank, "timeout": 900}
    return config


@contextmanager
def process_group(device: str, patience: timedelta | None = None) -> Iterator[None]:
    """Context with a process group of all processes that the launcher started.

    A process that was not started by a launcher gets no group.

    Args:
        device: value of `MODEL.DEVICE`. GPUs communicate with NCCL, CPUs with gloo.
        patience: timeout of operations that wait for other processes; None: torch's default.

    Raises:
        UsageError: this machine has fewer GPUs than processes.
    """
    if not under_torchrun():
        yield
        return
    local_rank, local_size = (int(os.environ[f"LOCAL_{name}"]) for name in ("RANK", "WORLD_SIZE"))
    on_gpu = torch.device(device).type == "cuda"
    if on_gpu:
        if local_size > torch.cuda.device_count():
            raise UsageError(
                f"{local_size} processes, but {torch.cuda.device_count()} GPUs on this machine; "
                "start at most one process per GPU, or set MODEL.DEVICE cpu"
            )
        torch.cuda.set_device(local_rank)
    _init_process_group("nccl" if on_gpu else "gloo", local_size, patience)
    _create_machine_groups(local_size)
    try:
        yield
    finally:
        comm._get_global_gloo_group.cache_clear()
        comm._LOCAL_PROCESS_GROUP = None
        distributed.destroy_process_group()


def _init_process_group(backend: str, local_size: int, patience: timedelta | None) -> None:
    """Creates the group of all processes.

    After a restart, the launcher's store still has the addresses of the killed processes, and the
    new ones would connect to them (github.com/pytorch/pytorch/issues/135712). On one machine, all
    processes know the number of restarts, so it is used as a prefix of the keys. On several
    machines, TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1 makes the launcher create a new store.
    """
    rank, size = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    restarts = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
    if restarts == "0" or size != local_size:
        distributed.init_process_group(backend, timeout=patience)
        return
    address, port = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
    store = distributed.TCPStore(address, port, is_master=False)
    store = distributed.PrefixStore(f"restart{restarts}", store)
    distributed.init_process_group(
        backend, timeout=patience, store=store, rank=rank, world_size=size
    )


def _create_machine_groups(local_size: int) -> None:
    """Creates one process group per machine, for Detectron2."""
    for first in range(0, distributed.get_world_size(), local_size):
        ranks = list(range(first, first + local_size))
        group = distributed.new_group(ranks)  # all processes must call it, members or not
        if distributed.get_rank() in ranks:
            comm._LOCAL_PROCESS_GROUP = group


def share_buffers(model: nn.Module) -> None:
    """Copies the buffers of the first process, which are the saved ones, to all processes.

    Buffers are, for example, the running statistics of batch normalization.
    """
    if comm.get_world_size() > 1:
        for buffer in model.buffers():
            distributed.broadcast(buffer, 0)


def distribute(model: nn.Module, device: str, sync_bn: bool) -> nn.Module:
    """Wraps the model so that its gradients are averaged over all processes.

    Args:
        model: model on its device.
        device: value of `MODEL.DEVICE`.
        sync_bn: whether batch normalization uses the statistics of all processes, see
            `synchronize_batch_norm`. Otherwise each process has its own statistics, and those of
            the first process are saved.

    Returns:
        The wrapped model, or `model` itself if there is only one process.
    """
    if comm.get_world_size() == 1:
        return model
    if sync_bn:
        model = synchronize_batch_norm(model, device)
    on_gpu = torch.device(device).type == "cuda"
    return DistributedDataParallel(
        model,
        device_ids=[torch.cuda.current_device()] if on_gpu else None,
        broadcast_buffers=False,
        gradient_as_bucket_view=True,
    )
