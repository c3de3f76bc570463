"""Implementation of `tools/predict.py`."""

import argparse
import logging
import os
import sys
from contextlib import nullcontext
from datetime import timedelta
from pathlib import Path
from typing import NamedTuple

from dsb2018.cli import FAILURE, run_command, stop_status
from dsb2018.inference.discover import find_images
from dsb2018.inference.export.base import EXPORTERS, choose_exporters
from dsb2018.inference.export.parts import DamagedPartError
from dsb2018.inference.export.run_exporters import join_parts
from dsb2018.inference.run import PredictionRun
from dsb2018.inference.tiling.stitching import Tiling
from dsb2018.io.locking import lock_folder
from dsb2018.options import add_model_options, add_output_folder, make_parser, read_options

PATIENCE = timedelta(days=7)  # timeout for the slowest of several processes
# Arguments that do not change the results of a file.
IRRELEVANT_ARGUMENTS = ("input", "output", "debug")


class Summary(NamedTuple):
    """Result of a run.

    Args:
        files: number of input files.
        done: number of files that were processed, in this run or an earlier one.
        nuclei: number of nuclei in all processed files.
        failed: one line for each file that failed.
        doubtful: number of images with a warning in `images.csv`.
        written: paths of the output files that cover all images.
    """

    files: int
    done: int
    nuclei: int
    failed: list[str]
    doubtful: int
    written: list[Path]


def main(arguments: list[str] | None = None, text: str = "") -> int:
    """Predicts and prints a summary.

    Args:
        arguments: command line; None: that of the process.
        text: docstring of the tool, see `predict_parser`.

    Returns:
        The exit status, see `dsb2018.cli`.
    """
    return run_command(predict_parser(text), predict_and_report, arguments)


def predict_and_report(args: argparse.Namespace) -> int:
    """Runs `predict`, prints a summary and returns the exit status."""
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    try:
        summary = predict(args)
    except KeyboardInterrupt as stop:
        print("interrupted; the same command continues where it stopped", file=sys.stderr)
        return stop_status(stop)
    if summary is None:  # with several processes, only the first one reports
        return 0
    for reason in summary.failed:
        print(f"failed: {reason}", file=sys.stderr)
    print(f"{summary.done} of {summary.files} files done, {summary.nuclei} nuclei")
    if summary.doubtful:
        print(f"Check these first: images with a warning in images.csv, {summary.doubtful}")
    if summary.written:
        folders = sorted(path for path in args.output.glob("[!.]*") if path.is_dir())
        written = [*(path.name for path in summary.written), *(f"{p.name}/" for p in folders)]
        print(f"Written to {args.output}: {', '.join(written)}")
    return FAILURE if summary.failed else 0


def predict_parser(text: str) -> argparse.ArgumentParser:
    """Returns the argument parser of `tools/predict.py`, whose docstring is `text`."""
    parser = make_parser(text)
    add = parser.add_argument
    add(
        "--input",
        nargs="+",
        required=True,
        metavar="PATH",
        help="image files, folders, or quoted patterns such as 'images/**/*.tif'",
    )
    add_output_folder(parser, "tables, label images and overlays")
    add(
        "--format",
        nargs="+",
        choices=list(EXPORTERS),
        default=["labels", "overlay"],
        help="output formats in addition to the tables, instead of the default (labels overlay): "
        "labels: label images; overlay: images with outlines; coco: COCO JSON; geojson: outlines "
        "for QuPath; kaggle: run lengths as CSV; dsb: image and mask files that can be corrected "
        "and trained on; crops: an image of each nucleus",
    )
    add("--crops", action="store_true", help="the same as adding crops to --format")
    add(
        "--channel",
        help="nuclear channel: index, from 0, or name; in RGB images of stained tissue, "
        "`hematoxylin`, `eosin` or `dab` finds the nuclei by the amount of this stain",
    )
    add(
        "--pixel-size",
        type=_pixel_size,
        metavar="UM",
        help="width of a pixel in micrometers (default: the value in the file)",
    )
    add(
        "--diameter",
        type=_diameter,
        metavar="PIXELS",
        help="diameter of the nuclei, in pixels (default: estimated for each image)",
    )
    _add_tile_options(parser)
    add(
        "--backend",
        choices=("torch", "onnxruntime"),
        default="torch",
        help="library that runs the network (default: torch)",
    )
    add_model_options(parser, default="the U-Net `nuclei` of this package")
    return parser


def _add_tile_options(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add(
        "--tile",
        type=int,
        default=Tiling.edge,
        metavar="PIXELS",
        help=f"width of the tiles of large images in pixels (default: {Tiling.edge})",
    )
    add(
        "--overlap",
        type=int,
        default=Tiling.margin,
        metavar="PIXELS",
        help="overlap of tiles in pixels; should exceed the width of the largest nucleus "
        f"(default: {Tiling.margin})",
    )


def _pixel_size(text: str) -> float:
    try:
        size = float(text)
    except ValueError:
        size = 0.0
    if not 1e-6 < size < 1e6:
        raise argparse.ArgumentTypeError(f"{text!r}, expected micrometers, such as 0.325")
    return size


def _diameter(text: str) -> float:
    try:
        diameter = float(text)
    except ValueError:
        diameter = 0.0
    if not 1 <= diameter <= 10_000:
        raise argparse.ArgumentTypeError(f"{text!r}, expected pixels, such as 24")
    return diameter


def predict(args: argparse.Namespace) -> Summary | None:
    """Predicts the nuclei of all input files and writes the output folder.

    Args:
        args: arguments of `predict_parser`.

    Returns:
        The summary of the run in the main process, None in other processes.

    Raises:
        FileNotFoundError: an input, the config or the weights do not exist.
        UsageError: an argument is invalid, or another process uses the output folder.
    """
    # These modules import torch, which `--help` and the export process do not need.
    from detectron2.utils import comm

    from dsb2018.engine.processes import process_group

    with process_group("cpu", PATIENCE):  # gloo suffices, as only error messages are exchanged
        lock = lock_folder(args.output, "prediction", "--output")
        with lock if comm.is_main_process() else nullcontext():
            return _predict(args)


def _predict(args: argparse.Namespace) -> Summary | None:
    import torch
    from detectron2.utils import comm

    from dsb2018.inference.predictor import Predictor

    exporters = choose_exporters([*args.format, *(["crops"] if args.crops else [])])
    tiling = Tiling(args.tile, args.overlap, whole=max(args.tile, Tiling.whole))
    images = find_images(args.input)
    options = read_options(args)
    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", 0)) % torch.cuda.device_count())
    predictor = Predictor(
        args.config_file,
        options=options,
        backend=args.backend,
        tiling=tiling,
        diameter=args.diameter,
    )
    settings = {
        name: str(value) for name, value in vars(args).items() if name not in IRRELEVANT_ARGUMENTS
    }
    with PredictionRun(
        predictor, args.output, exporters, args.channel, args.pixel_size, settings
    ) as run:
        share = slice(comm.get_rank(), None, comm.get_world_size())
        failed = run.work_on(images, share)
    failed = [reason for part in comm.gather(failed) for reason in part]
    if not comm.is_main_process():
        return None
    records = {name: record for name, _ in images if (record := run.record(name))}
    if not records:  # keep the tables of an earlier run
        return Summary(len(images), 0, 0, failed, 0, [])
    try:
        written = join_parts(args.output, run.done, records, exporters)
    except DamagedPartError as error:
        error.part.unlink(missing_ok=True)  # the next run writes it again
        failed, written = [*failed, str(error)], []
    except OSError as error:  # for example a full disk; earlier failures are reported too
        failed, written = [*failed, f"{args.output}: {error}"], []
    rows = [row for record in records.values() for row in record["images"]]
    nuclei, doubtful = sum(row["nuclei"] for row in rows), sum(bool(row["warning"]) for row in rows)
    return Summary(len(images), len(records), nuclei, failed, doubtful, written)
