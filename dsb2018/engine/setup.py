"""From the arguments of `tools/train_net.py` to a config, and from a config to a run."""

import argparse
import logging
from contextlib import nullcontext
from pathlib import Path

from detectron2.config import CfgNode
from detectron2.engine import default_setup
from detectron2.evaluation import verify_results
from detectron2.modeling import (
    BACKBONE_REGISTRY,
    META_ARCH_REGISTRY,
    ROI_HEADS_REGISTRY,
    SEM_SEG_HEADS_REGISTRY,
)
from detectron2.utils import comm
from detectron2.utils.logger import setup_logger

from dsb2018.checkpoint import NucleiCheckpointer
from dsb2018.cli import is_log_file
from dsb2018.config import read_config
from dsb2018.data import check_registered, register_dsb2018
from dsb2018.engine.processes import process_group, was_restarted
from dsb2018.engine.summary import list_outputs
from dsb2018.engine.trainer import Trainer
from dsb2018.errors import UsageError
from dsb2018.io.locking import lock_folder

logger = logging.getLogger(__name__)


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
    logger.info("Written:\n%s", list_outputs(cfg.OUTPUT_DIR, cfg.DATASETS.TEST))
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
        logger.info("Written:\n%s", list_outputs(cfg.OUTPUT_DIR, cfg.DATASETS.TEST))
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
