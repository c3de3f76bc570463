"""From the arguments of `tools/benchmark.py` to its files."""

import argparse
import logging
import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from dsb2018.cli import output_folder
from dsb2018.data import check_registered, register_dsb2018
from dsb2018.engine import argument_parser as training_parser
from dsb2018.engine import run as train
from dsb2018.errors import UsageError
from dsb2018.files import write_atomically
from dsb2018.modeling.weights import find_weights
from dsb2018.names import check_address, file_name
from dsb2018.report.comparison import Entry, differences, read_entry
from dsb2018.report.contestants import Contestant, name_contestants
from dsb2018.report.html import to_html
from dsb2018.report.scoring import is_scored, score
from dsb2018.report.tables import to_csv, to_json, to_markdown

logger = logging.getLogger(__name__)


def argument_parser(epilog: str | None = None) -> argparse.ArgumentParser:
    """The arguments of `tools/benchmark.py`."""
    parser = argparse.ArgumentParser(
        description="Scores models and other tools on the same images, and compares them.",
        epilog=epilog,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--configs", nargs="+", default=[], metavar="YAML", help="models")
    add(
        "--weights",
        nargs="+",
        metavar="FILE",
        help="one for each config, as in MODEL.WEIGHTS (default: model_final.pth in its "
        "OUTPUT_DIR, else the package's)",
    )
    add("--train", action="store_true", help="train the models first, into the output folder")
    add(
        "--predictions",
        nargs="+",
        default=[],
        type=_name_and_folder,
        metavar="NAME=DIR",
        help="label images of another tool: <image>.tif, .png or .npy",
    )
    add("--datasets", nargs="+", default=["dsb2018_val"], metavar="NAME")
    add("--output", required=True, type=output_folder, metavar="DIR")
    add("--data", metavar="ROOT", help="prepared root, as in train_net.py")
    return parser


def _name_and_folder(text: str) -> tuple[str, str]:
    name, equals, folder = text.partition("=")
    if not (name and equals and folder):
        raise argparse.ArgumentTypeError(f"{text!r}, expected NAME=DIR")
    return name, folder


def benchmark(args: argparse.Namespace) -> list[Entry]:
    """Scores what is not scored yet, and writes the comparison.

    Returns:
        An entry for each contestant and dataset.

    Raises:
        ValueError: nobody takes part, a config without weights, or arguments that do not fit.
        FileNotFoundError: a file or folder is missing; the message names it.
    """
    contestants = choose_contestants(args)
    register_dsb2018(args.data)
    check_registered(args.datasets, "--datasets")
    entries = []
    for dataset in args.datasets:
        for contestant in contestants:
            folder = args.output / contestant.folder_name / file_name(dataset)
            if is_scored(contestant, dataset, args.data, folder):
                logger.info("%s on %s: scored already", contestant.name, dataset)
            else:
                logger.info("%s on %s …", contestant.name, dataset)
                _in_own_process(score, contestant, dataset, args.data, folder)
            entries.append(read_entry(folder))
    write_comparison(entries, args.output)
    return entries


def choose_contestants(args: argparse.Namespace) -> list[Contestant]:
    """Who takes part; models are trained before, if that was asked for.

    Raises:
        ValueError, FileNotFoundError: see `benchmark`.
    """
    if not args.configs and not args.predictions:
        raise UsageError("nothing to compare: give --configs or --predictions")
    for config in args.configs:
        if not Path(config).is_file():
            raise FileNotFoundError(f"{config}: no such config")
    if args.train and args.weights:
        raise UsageError("--train makes the weights: leave --weights out")
    if args.train:
        untrained = name_contestants(args.configs, [""] * len(args.configs), [])
        weights = [_train(each, args.output, args.data) for each in untrained]
    else:
        weights = args.weights or [find_weights(config) for config in args.configs]
    for config, file in zip(args.configs, weights, strict=False):
        check_address(file)
        if not file:
            raise UsageError(f"{config}: no weights; give --weights, or --train")
    for _, folder in args.predictions:
        if not Path(folder).is_dir():
            raise FileNotFoundError(f"{folder}: no such folder of label images")
    return name_contestants(args.configs, weights, args.predictions)


def _train(contestant: Contestant, output: Path, root: str | None) -> str:
    """Trains a model, or goes on where that was stopped.

    Returns:
        The weights.
    """
    folder = output / contestant.folder_name / "training"
    weights = folder / "model_final.pth"
    if not weights.exists():
        logger.info("Training %s …", contestant.name)
        arguments = ["--config-file", contestant.config, "--resume"]
        arguments += ["--data", root] if root else []
        args = training_parser().parse_args([*arguments, "OUTPUT_DIR", str(folder)])
        _in_own_process(train, args)
    return str(weights)


def _in_own_process(function, *arguments) -> None:
    """Calls a function in a fresh process, whose memory and threads are its own."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(max_workers=1, mp_context=context) as pool:
        pool.submit(function, *arguments).result()


def write_comparison(entries: list[Entry], output: Path) -> None:
    """`results.json`, `results.csv`, `results.md` and `report.html`."""
    found = differences(entries)
    write_atomically(output / "results.json", to_json(entries, found))
    write_atomically(output / "results.csv", to_csv(entries))
    write_atomically(output / "results.md", to_markdown(entries, found))
    write_atomically(output / "report.html", to_html(entries))
