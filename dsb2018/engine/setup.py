"""Config and logging of a run, and the run itself: training or evaluation."""

import argparse
import logging
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

from detectron2.config import CfgNode
from detectron2.data import DatasetCatalog, MetadataCatalog
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
from dsb2018.data import check_annotations, check_registered, register_dsb2018
from dsb2018.engine.processes import process_group, was_restarted
from dsb2018.engine.summary import list_outputs
from dsb2018.engine.trainer import Trainer
from dsb2018.errors import UsageError
from dsb2018.io.files import write_atomically
from dsb2018.io.locking import lock_folder

logger = logging.getLogger(__name__)
CONFIG = "config.yaml"  # in OUTPUT_DIR


def setup(args: argparse.Namespace) -> CfgNode:
    """Reads the config, creates the output folder, sets up logging and registers the datasets.

    Args:
        args: arguments of `tools/train_net.py`.

    Returns:
        The frozen config.
    """
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
            "SEED %d makes data and random numbers repeatable. On CUDA, sums still differ in their "
            "last bits from run to run, unless CUBLAS_WORKSPACE_CONFIG=:4096:8 is set in the "
            "environment and the code calls torch.use_deterministic_algorithms(True) (slower)",
            cfg.SEED,
        )
    hide_traceback_of_training()
    register_dsb2018(args.data)
    if not args.eval_only:
        check_registered(cfg.DATASETS.TRAIN, "DATASETS.TRAIN")
    check_registered(cfg.DATASETS.TEST, "DATASETS.TEST")
    for name in cfg.DATASETS.TEST:  # those of the training are checked when it loads them
        if MetadataCatalog.get(name).get("evaluator_type") == "coco":
            check_annotations(name, DatasetCatalog.get(name))
    return cfg


def hide_traceback_of_training() -> None:
    """Hides the traceback that Detectron2's train loop logs from the terminal.

    The log file still gets it, and `dsb2018.cli` reports the error in one line.
    """
    for handler in logging.getLogger("detectron2").handlers:
        if not is_log_file(handler):
            handler.addFilter(_is_not_training_traceback)


def _is_not_training_traceback(record: logging.LogRecord) -> bool:
    return record.msg != "Exception during training:"


def run(args: argparse.Namespace) -> dict:
    """Trains, or evaluates if `--eval-only` is set, as one of the processes of the run.

    Args:
        args: arguments of `tools/train_net.py`.

    Returns:
        The results of the last evaluation, see `Trainer.test`.

    Raises:
        Interrupted: see `Trainer.train`.
    """
    with process_group(read_config(args.config_file, args.opts).MODEL.DEVICE):
        return _evaluate(args) if args.eval_only else _train(args)


def _evaluate(args: argparse.Namespace) -> dict:
    with _keeping_config(_output_folder(args), always=True):
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
    folder = _output_folder(args)
    lock = lock_folder(folder, "training", "OUTPUT_DIR")
    with lock if comm.is_main_process() else nullcontext():
        with _keeping_config(folder):
            cfg = setup(args)
            check_model(cfg)
            trainer = Trainer(cfg)
            # With several machines, the launcher may count the restart on only one of them.
            is_resumed = any(comm.all_gather(args.resume or was_restarted()))
            trainer.resume_or_load(is_resumed)
        if not is_resumed and (folder / "model_final.pth").exists():
            logger.warning("%s: the model of an earlier training will be replaced", folder)
        results = trainer.train()
        logger.info("Written:\n%s", list_outputs(cfg.OUTPUT_DIR, cfg.DATASETS.TEST))
    return results


def _output_folder(args: argparse.Namespace) -> Path:
    return Path(read_config(args.config_file, args.opts).OUTPUT_DIR)


@contextmanager
def _keeping_config(folder: Path, *, always: bool = False) -> Iterator[None]:
    """Restores the `config.yaml` of an earlier training, which Detectron2 replaces at once.

    It belongs to the weights in the folder, and is restored if a training does not begin, or always
    (after an evaluation).
    """
    path = folder / CONFIG
    earlier = path.read_bytes() if comm.is_main_process() and path.is_file() else None
    has_failed = True
    try:
        yield
        has_failed = False
    finally:
        if earlier is not None and (always or has_failed):
            write_atomically(path, earlier)


def check_model(cfg: CfgNode) -> None:
    """Checks that the architecture, backbone and heads of the config are registered.

    Raises:
        UsageError: a name is not registered; the message lists the registered names.
    """
    registries = {
        "MODEL.META_ARCHITECTURE": (cfg.MODEL.META_ARCHITECTURE, META_ARCH_REGISTRY),
        "MODEL.BACKBONE.NAME": (cfg.MODEL.BACKBONE.NAME, BACKBONE_REGISTRY),
        "MODEL.SEM_SEG_HEAD.NAME": (cfg.MODEL.SEM_SEG_HEAD.NAME, SEM_SEG_HEADS_REGISTRY),
        "MODEL.ROI_HEADS.NAME": (cfg.MODEL.ROI_HEADS.NAME, ROI_HEADS_REGISTRY),
    }
    for key, (name, registry) in registries.items():
        if name not in registry:
            registered = ", ".join(sorted(registered_name for registered_name, _ in registry))
            raise UsageError(f"{key} {name!r}, expected one of {registered}")
