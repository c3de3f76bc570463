"""From command-line arguments to a config, and from a config to a run."""

import argparse
import logging
import sys

from detectron2.config import CfgNode
from detectron2.engine import default_argument_parser, default_setup
from detectron2.evaluation import verify_results
from detectron2.utils import comm
from detectron2.utils.logger import setup_logger

from dsb2018.config import read_config
from dsb2018.data import register_dsb2018
from dsb2018.engine.interruption import Interrupted
from dsb2018.engine.processes import launch, process_group, was_restarted
from dsb2018.engine.summary import places
from dsb2018.engine.trainer import Trainer
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


def main(arguments: list[str] | None = None, epilog: str | None = None) -> None:
    """Runs what the arguments ask for, in as many processes as they ask for."""
    args = argument_parser(epilog).parse_args(arguments)
    launch(run_to_exit_status, args)


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
    register_dsb2018(args.data)
    return cfg


def run(args: argparse.Namespace) -> dict:
    """Trains, or evaluates with `--eval-only`; one process of it.

    Returns:
        The results of the evaluation at the end, see `Trainer.test`.

    Raises:
        Interrupted: see `Trainer.train`.
    """
    with process_group(read_config(args.config_file, args.opts).MODEL.DEVICE):
        cfg = setup(args)
        if args.eval_only:
            model = Trainer.build_model(cfg)
            checkpointer = NucleiCheckpointer(model, save_dir=cfg.OUTPUT_DIR)
            checkpointer.resume_or_load(cfg.MODEL.WEIGHTS, resume=args.resume)
            results = Trainer.test(cfg, model)
            if comm.is_main_process():
                verify_results(cfg, results)  # TEST.EXPECTED_RESULTS, as in training
        else:
            trainer = Trainer(cfg)
            # Of several machines a launcher may count the restart on one alone.
            trainer.resume_or_load(any(comm.all_gather(args.resume or was_restarted())))
            results = trainer.train()
        logger.info("Written:\n%s", places(cfg.OUTPUT_DIR, cfg.DATASETS.TEST))
    return results


def run_to_exit_status(args: argparse.Namespace) -> None:
    """`run` as a process: one that was asked to stop exits with 128 + the signal's number."""
    try:
        run(args)
    except Interrupted as stop:
        sys.exit(stop.exit_status)
