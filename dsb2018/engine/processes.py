"""Several processes that train or evaluate together, on one machine or many, on GPUs or CPUs.

Either `torchrun` starts them, or `--num-gpus` and `--num-machines` do, by the same means.
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
    """Whether this process is one of several that a launcher has started."""
    return "RANK" in os.environ and "WORLD_SIZE" in os.environ


def was_restarted() -> bool:
    """Whether the launcher has started this process anew after one of them had failed."""
    return int(os.environ.get("TORCHELASTIC_RESTART_COUNT", 0)) > 0


def needs_processes(args: argparse.Namespace) -> bool:
    """Whether the arguments ask for several processes, and no launcher has started them."""
    return not under_torchrun() and args.num_gpus * args.num_machines > 1


def launch(run: Callable[[argparse.Namespace], object], args: argparse.Namespace) -> int:
    """Calls `run(args)` in as many processes as the arguments ask for.

    Args:
        run: a function of a module, which new processes can import.
        args: `num_gpus` (processes on each machine), `num_machines`, `machine_rank`, `dist_url`.

    Returns:
        The exit status: 0, or that of the first process that failed.

    Raises:
        UsageError: several machines, and `dist_url` does not say where the first one is.
    """
    if not vars(args).get("debug"):  # each process reports its own error, in one line
        logging.getLogger("torch.distributed.elastic").setLevel(logging.CRITICAL)
    try:
        elastic_launch(_launch_config(args), run)(args)
    except SignalException as stop:  # the processes got it too, and have written a checkpoint
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
    """In this context the processes that a launcher has started know each other; alone, nothing
    happens.

    Args:
        device: as in `MODEL.DEVICE`: NCCL joins GPUs, gloo processors.
        patience: how long one waits for the others; None: as long as torch does.

    Raises:
        UsageError: fewer GPUs than processes on this machine.
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
                "ask for as many, or for MODEL.DEVICE cpu"
            )
        torch.cuda.set_device(local_rank)
    _join("nccl" if on_gpu else "gloo", local_size, patience)
    _group_by_machine(local_size)
    try:
        yield
    finally:
        comm._get_global_gloo_group.cache_clear()
        comm._LOCAL_PROCESS_GROUP = None
        distributed.destroy_process_group()


def _join(backend: str, local_size: int, patience: timedelta | None) -> None:
    """Makes the group of all processes.

    The launcher's store keeps the addresses of processes that were killed, and restarted ones would
    look for each other there (github.com/pytorch/pytorch/issues/135712). On one machine all know
    how often they were restarted and can keep apart what is of each time; on several the launcher
    has to make a new store, for which there is TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1.
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


def _group_by_machine(local_size: int) -> None:
    """Tells Detectron2 which processes are on the same machine."""
    for first in range(0, distributed.get_world_size(), local_size):
        ranks = list(range(first, first + local_size))
        group = distributed.new_group(ranks)  # a call of all processes, also of others
        if distributed.get_rank() in ranks:
            comm._LOCAL_PROCESS_GROUP = group


def share_buffers(model: nn.Module) -> None:
    """Gives all processes the first one's running statistics, which are those that are saved."""
    if comm.get_world_size() > 1:
        for buffer in model.buffers():
            distributed.broadcast(buffer, 0)


def distribute(model: nn.Module, device: str, sync_bn: bool) -> nn.Module:
    """The model, its gradients averaged over all processes where there are several.

    Args:
        model: on its device.
        device: as in `MODEL.DEVICE`.
        sync_bn: see `synchronize_batch_norm`; else each process keeps statistics of its own, and
            those of the first are saved.
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
