"""Compares models and other tools on the same images with the same metrics.

    dsb2018 benchmark --output output/comparison \\
        --config-file configs/unet/unet_light.yaml configs/mask_rcnn/lite0_FPN.yaml \\
        --predictions StarDist=stardist_labels --datasets dsb2018_val

Writes report.html, a page that shows all results; results.md, results.csv and results.json; and,
for each model and dataset, a folder with the scores and label images of each image. Scores that
already exist are not computed again.
"""

import argparse
import logging
import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from dsb2018.checkpoint import find_weights
from dsb2018.cli import run_command
from dsb2018.commands.train import training_parser
from dsb2018.data import check_registered, register_dsb2018
from dsb2018.engine import run as train
from dsb2018.errors import UsageError
from dsb2018.io.files import write_atomically
from dsb2018.io.names import check_address, file_name
from dsb2018.options import add_data_option, add_output_folder, make_parser
from dsb2018.report.comparison import EntrantScores, differences, read_entrant_scores
from dsb2018.report.entrants import Entrant, name_entrants
from dsb2018.report.html import to_html
from dsb2018.report.result_tables import to_csv, to_json, to_markdown
from dsb2018.report.scoring import is_scored, score_entrant

logger = logging.getLogger(__name__)


def main(arguments: list[str] | None = None) -> int:
    """Compares and prints where the results are; returns the exit status, see `dsb2018.cli`."""
    return run_command(benchmark_parser(), compare_and_report, arguments)


def compare_and_report(args: argparse.Namespace) -> None:
    """Runs `benchmark` and prints where the results are."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    benchmark(args)
    print(f"Written: {args.output}/report.html, results.md, results.csv, results.json")


def benchmark_parser() -> argparse.ArgumentParser:
    """Returns the argument parser of the command."""
    parser = make_parser(__doc__ or "")
    add = parser.add_argument
    add(
        "--config-file",
        nargs="+",
        default=[],
        dest="config_files",
        metavar="YAML",
        help="configs of the models to compare",
    )
    add(
        "--weights",
        nargs="+",
        metavar="FILE",
        help="trained weights, one file per config (default: model_final.pth in its OUTPUT_DIR, "
        "else the weights in this package)",
    )
    add("--train", action="store_true", help="train the models first, in the output folder")
    add(
        "--predictions",
        nargs="+",
        default=[],
        type=_name_and_folder,
        metavar="NAME=DIR",
        help="label images of another tool: DIR/<image>.tif, .png or .npy",
    )
    add(
        "--datasets",
        nargs="+",
        default=["dsb2018_val"],
        metavar="NAME",
        help="prepared datasets to evaluate on (default: dsb2018_val)",
    )
    add_output_folder(parser, "scores, tables and report.html")
    add_data_option(parser)
    return parser


def _name_and_folder(text: str) -> tuple[str, str]:
    name, equals, folder = text.partition("=")
    if not (name and equals and folder):
        raise argparse.ArgumentTypeError(f"{text!r}, expected NAME=DIR")
    return name, folder


def benchmark(args: argparse.Namespace) -> list[EntrantScores]:
    """Scores each entrant on each dataset and writes the comparison.

    Scores that exist in the output folder are not computed again.

    Args:
        args: arguments of `benchmark_parser`.

    Returns:
        The scores of each entrant on each dataset.

    Raises:
        UsageError: there is nothing to compare, a config has no weights, or arguments cannot be
            combined.
        FileNotFoundError: a file or folder does not exist.
    """
    entrants = choose_entrants(args)
    register_dsb2018(args.data)
    check_registered(args.datasets, "--datasets")
    entries = []
    for dataset in args.datasets:
        for entrant in entrants:
            folder = args.output / entrant.folder_name / file_name(dataset)
            if is_scored(entrant, dataset, args.data, folder):
                logger.info("%s on %s: already scored", entrant.name, dataset)
            else:
                logger.info("Scoring %s on %s …", entrant.name, dataset)
                arguments = (entrant, dataset, args.data, folder)
                if entrant.is_model:
                    _run_in_new_process(score_entrant, *arguments)
                else:  # no time and memory are measured
                    score_entrant(*arguments)
            entries.append(read_entrant_scores(folder))
    write_comparison(entries, args.output)
    return entries


def choose_entrants(args: argparse.Namespace) -> list[Entrant]:
    """Returns the entrants: models and folders of label images.

    With `--train`, the models are trained first.

    Args:
        args: arguments of `benchmark_parser`.

    Raises:
        UsageError, FileNotFoundError: see `benchmark`.
    """
    if not args.config_files and not args.predictions:
        raise UsageError("nothing to compare: give --config-file or --predictions")
    for config in args.config_files:
        if not Path(config).is_file():
            raise FileNotFoundError(f"{config}: no such config")
    if args.train and args.weights:
        raise UsageError("--train and --weights cannot be combined: --train creates the weights")
    if args.train:
        untrained = name_entrants(args.config_files, [""] * len(args.config_files), [])
        weights = [_train(entrant, args.output, args.data) for entrant in untrained]
    else:
        weights = args.weights or [find_weights(config) for config in args.config_files]
    for config, file in zip(args.config_files, weights, strict=False):
        check_address(file)
        if not file:
            raise UsageError(f"{config}: no weights; give --weights, or --train")
    for _, folder in args.predictions:
        if not Path(folder).is_dir():
            raise FileNotFoundError(f"{folder}: no such folder of label images")
    return name_entrants(args.config_files, weights, args.predictions)


def _train(entrant: Entrant, output: Path, root: str | None) -> str:
    """Trains a model, or resumes its training, and returns the path of the weights."""
    folder = output / entrant.folder_name / "training"
    weights = folder / "model_final.pth"
    if not weights.exists():
        logger.info("Training %s …", entrant.name)
        arguments = ["--config-file", entrant.config, "--resume"]
        arguments += ["--data", root] if root else []
        args = training_parser().parse_args([*arguments, "OUTPUT_DIR", str(folder)])
        _run_in_new_process(train, args)
    return str(weights)


def _run_in_new_process(function, *arguments) -> None:
    """Calls a function in a new process, so that it shares no memory or threads with others."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(max_workers=1, mp_context=context) as pool:
        pool.submit(function, *arguments).result()


def write_comparison(entries: list[EntrantScores], output: Path) -> None:
    """Writes `results.json`, `results.csv`, `results.md` and `report.html`.

    Args:
        entries: scores of each entrant on each dataset.
        output: folder for the files.
    """
    score_differences = differences(entries)
    write_atomically(output / "results.json", to_json(entries, score_differences))
    write_atomically(output / "results.csv", to_csv(entries))
    write_atomically(output / "results.md", to_markdown(entries, score_differences))
    write_atomically(output / "report.html", to_html(entries))
