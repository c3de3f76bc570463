"""From command-line arguments to a config, and from a config to a run."""

import argparse
import logging
import sys
from contextlib import nullcontext
from pathlib import Path

from detectron2.config import CfgNode
from detectron2.engine import default_argument_parser, default_setup
from detectron2.evaluation import verify_results
from detectron2.modeling import (
    BACKBONE_REGISTRY,
    META_ARCH_REGISTRY,
    ROI_HEADS_REGISTRY,
    SEM_SEG_HEADS_REGISTRY,
)
from detectron2.utils import comm
from detectron2.utils.logger import setup_logger

from dsb2018.cli import exit_status, is_log_file, run_command
from dsb2018.config import read_config
from dsb2018.data import check_registered, register_dsb2018
from dsb2018.engine.interruption import Interrupted
from dsb2018.engine.processes import launch, needs_processes, process_group, was_restarted
from dsb2018.engine.summary import places
from dsb2018.engine.trainer import Trainer
from dsb2018.errors import UsageError
from dsb2018.locking import lock_folder
from dsb2018.modeling import NucleiCheckpointer

logger = logging.getLogger(__name__)


def argument_parser(epilog: str | None = None) -> argparse.ArgumentParser:
    """Detectron2's arguments, and the root of the prepared data."""
    parser = default_argument_parser(epilog)
    parser.add_argument(
        "--data",
        metavar="ROOT",
        help="prepared root (default: $DETECTRON2_DATASETS/dsb2018, else ./datasets/dsb2018)",
    )
    return parser


def main(arguments: list[str] | None = None, epilog: str | None = None) -> int:
    """Runs what the arguments ask for, in as many processes as they ask for.

    Returns:
        The exit status, see `dsb2018.cli`.
    """
    return run_command(argument_parser(epilog), _run_all, arguments)


def _run_all(args: argparse.Namespace) -> int:
    if needs_processes(args):
        return launch(run_spawned, args)
    return run_process(args)


def setup(args: argparse.Namespace) -> CfgNode:
    """The frozen config of a run, its datasets registered, its output folder made."""
    cfg = read_config(args.config_file, args.opts)
    cfg.freeze()
    default_setup(cfg, args)
    setup_logger(
        cfg.OUTPUT_DIR, distributed_rank=comm.get_rank(), name="dsb2018", abbrev_name="dsb2018"
    )
    if cfg.MODEL.DEVICE == "cpu":
        logger.info("MODEL.DEVICE is cpu")
    elif cfg.SEED >= 0:
        logger.info(
            "SEED %d repeats data and random numbers; on CUDA the sums of a run differ in their "
            "last bits from the next, unless the environment has CUBLAS_WORKSPACE_CONFIG=:4096:8 "
            "and the code calls torch.use_deterministic_algorithms(True), which is slower",
            cfg.SEED,
        )
    hide_traceback_of_training()
    register_dsb2018(args.data)
    check_registered(cfg.DATASETS.TRAIN, "DATASETS.TRAIN")
    check_registered(cfg.DATASETS.TEST, "DATASETS.TEST")
    return cfg


def hide_traceback_of_training() -> None:
    """Keeps the traceback that Detectron2's train loop logs off the terminal: the log file has it,
    and `dsb2018.cli` reports the error in one line."""
    for handler in logging.getLogger("detectron2").handlers:
        if not is_log_file(handler):
            handler.addFilter(_is_no_traceback_of_training)


def _is_no_traceback_of_training(record: logging.LogRecord) -> bool:
    return record.msg != "Exception during training:"


def run(args: argparse.Namespace) -> dict:
    """Trains, or evaluates with `--eval-only`; one process of it.

    Returns:
        The results of the evaluation at the end, see `Trainer.test`.

    Raises:
        Interrupted: see `Trainer.train`.
    """
    with process_group(read_config(args.config_file, args.opts).MODEL.DEVICE):
        return _evaluate(args) if args.eval_only else _train(args)


def _evaluate(args: argparse.Namespace) -> dict:
    cfg = setup(args)
    check_model(cfg)
    model = Trainer.build_model(cfg)
    checkpointer = NucleiCheckpointer(model, save_dir=cfg.OUTPUT_DIR)
    checkpointer.load_trained(cfg.MODEL.WEIGHTS, resume=args.resume)
    results = Trainer.test(cfg, model)
    if comm.is_main_process():
        verify_results(cfg, results)  # TEST.EXPECTED_RESULTS, as in training
    logger.info("Written:\n%s", places(cfg.OUTPUT_DIR, cfg.DATASETS.TEST))
    return results


def _train(args: argparse.Namespace) -> dict:
    folder = Path(read_config(args.config_file, args.opts).OUTPUT_DIR)
    held = lock_folder(folder, "training", "OUTPUT_DIR")
    with held if comm.is_main_process() else nullcontext():
        cfg = setup(args)
        check_model(cfg)
        trainer = Trainer(cfg)
        # Of several machines a launcher may count the restart on one alone.
        trainer.resume_or_load(any(comm.all_gather(args.resume or was_restarted())))
        results = trainer.train()
        logger.info("Written:\n%s", places(cfg.OUTPUT_DIR, cfg.DATASETS.TEST))
    return results


def check_model(cfg: CfgNode) -> None:
    """Checks the names of a model's parts.

    Raises:
        UsageError: an architecture, backbone or head that is not registered; the message lists
            those that are.
    """
    registries = {
        "MODEL.META_ARCHITECTURE": (cfg.MODEL.META_ARCHITECTURE, META_ARCH_REGISTRY),
        "MODEL.BACKBONE.NAME": (cfg.MODEL.BACKBONE.NAME, BACKBONE_REGISTRY),
        "MODEL.SEM_SEG_HEAD.NAME": (cfg.MODEL.SEM_SEG_HEAD.NAME, SEM_SEG_HEADS_REGISTRY),
        "MODEL.ROI_HEADS.NAME": (cfg.MODEL.ROI_HEADS.NAME, ROI_HEADS_REGISTRY),
    }
    for key, (name, registry) in registries.items():
        if name not in registry:
            known = ", ".join(sorted(known for known, _ in registry))
            raise UsageError(f"{key} {name!r}, expected one of {known}")


def run_process(args: argparse.Namespace) -> int:
    """`run` as one of several processes, or as the only one.

    Returns:
        The exit status, which of a process that was asked to stop is 128 + the signal's number.
    """
    try:
        run(args)
    except Interrupted as stop:
        return stop.exit_status
    return 0


def run_spawned(args: argparse.Namespace) -> None:
    """`run_process` for a process that a launcher has started."""
    if status := exit_status(run_process, args):
        sys.exit(status)
