"""Finds and measures the nuclei in images.

    dsb2018 predict --input my_images --output results
    dsb2018 predict --input slide.ome.tif --output results --diameter 20 --threshold 0.4
    dsb2018 predict --input plate --output results --model mask_rcnn --channel DAPI

Reads PNG, JPEG, BMP, TIFF (OME, ImageJ, stacks) and OME-Zarr. Writes nuclei.csv with one row per
nucleus, images.csv with one row per image, and what --format names, by default label images, images
with outlines, and index.html, a page of all results.
"""

import argparse
import logging
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from datetime import timedelta
from pathlib import Path
from typing import NamedTuple

from dsb2018.cli import FAILURE, run_command, stop_status
from dsb2018.inference.discover import find_images
from dsb2018.inference.export.base import EXPORTERS, choose_exporters
from dsb2018.inference.export.page import PageExporter, write_page
from dsb2018.inference.export.parts import DamagedPartError
from dsb2018.inference.export.run_exporters import join_parts
from dsb2018.inference.model_files import BACKENDS
from dsb2018.inference.predictor import Predictor
from dsb2018.inference.run import PredictionRun
from dsb2018.inference.selection import Area, Selection
from dsb2018.inference.tiling.stitching import Tiling
from dsb2018.io.locking import lock_folder
from dsb2018.options import add_model_options, add_output_folder, make_parser

PATIENCE = timedelta(days=7)  # timeout for the slowest of several processes
UNSET = ("None", "False", "[]")  # values of options that were not given
# Arguments that do not change the results of a file.
IRRELEVANT_ARGUMENTS = ("input", "output", "recursive", "debug")


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


def main(arguments: list[str] | None = None) -> int:
    """Predicts and prints a summary.

    Args:
        arguments: command line; None: that of the process.

    Returns:
        The exit status, see `dsb2018.cli`.
    """
    return run_command(predict_parser(), predict_and_report, arguments)


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


def predict_parser() -> argparse.ArgumentParser:
    """Returns the argument parser of the command."""
    parser = make_parser(__doc__ or "")
    add = parser.add_argument
    add(
        "--input",
        nargs="+",
        required=True,
        metavar="PATH",
        help="image files, folders, or quoted patterns such as 'images/**/*.tif'",
    )
    add("--recursive", action="store_true", help="also search the subfolders of folders")
    add_output_folder(parser, "the results")
    add(
        "--format",
        nargs="+",
        choices=list(EXPORTERS),
        default=["labels", "overlay", "page"],
        help="what to write besides the tables (default: labels overlay page; naming any format "
        "replaces the default). labels: label images; overlay: images with outlines; page: "
        "index.html, a web page of all results; coco: COCO JSON; geojson: outlines for QuPath; "
        "rois: outlines for ImageJ and Fiji; kaggle: run lengths as CSV; dsb: image and mask files "
        "that can be corrected and trained on; crops: an image of each nucleus",
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
        help="diameter of the nuclei in pixels (default: estimated for each image); not for unet, "
        "semantic_fpn and simple_cnn, which do not scale images",
    )
    add(
        "--threshold",
        type=_share,
        metavar="P",
        help="minimum probability of a nucleus, 0 to 1: a lower value finds more and larger nuclei "
        "(default: set by the model; 0.5 for nuclei and unet_light, 0.7 for mask_rcnn)",
    )
    for limit, effect in (("min", "smaller"), ("max", "larger")):
        add(
            f"--{limit}-area",
            type=_area,
            metavar="AREA",
            help=f"leave out {effect} nuclei: pixels, such as 80, or square micrometers: 12.5um2",
        )
    add(
        "--exclude-border", action="store_true", help="leave out nuclei that touch the image border"
    )
    _add_tile_options(parser)
    add(
        "--backend",
        choices=BACKENDS,
        default="auto",
        help="library that runs the network (default: auto: onnxruntime on processors if the model "
        "has an ONNX network, else torch)",
    )
    add_model_options(parser)
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
        help="margin on each side of a tile in pixels; should exceed the largest nucleus "
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


def _area(text: str) -> Area:
    try:
        return Area.from_text(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def _share(text: str) -> float:
    try:
        share = float(text)
    except ValueError:
        share = -1.0
    if not 0 <= share <= 1:
        raise argparse.ArgumentTypeError(f"{text!r}, expected a number from 0 to 1")
    return share


class Processes(NamedTuple):
    """The processes that share the files of a run.

    Args:
        rank: index of this process.
        count: number of processes.
        gather: maps a value of each process to the list of all values, in the first process.
    """

    rank: int
    count: int
    gather: Callable[[list], list]


@contextmanager
def _join_processes() -> Iterator[Processes]:
    """Context in which this process belongs to those that torchrun started."""
    if not {"RANK", "WORLD_SIZE"} <= set(os.environ):
        yield Processes(0, 1, lambda value: [value])
        return
    # These modules import torch, which a single process does not need.
    import torch
    from detectron2.utils import comm

    from dsb2018.engine.processes import process_group

    with process_group("cpu", PATIENCE):  # gloo suffices, as only error messages are exchanged
        if torch.cuda.is_available():
            index = int(os.environ.get("LOCAL_RANK", 0)) % torch.cuda.device_count()
            torch.cuda.set_device(index)
        yield Processes(comm.get_rank(), comm.get_world_size(), comm.gather)


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
    with _join_processes() as processes:
        lock = lock_folder(args.output, "prediction", "--output")
        with nullcontext() if processes.rank else lock:
            return _predict(args, processes)


def _predict(args: argparse.Namespace, processes: Processes) -> Summary | None:
    exporters = choose_exporters([*args.format, *(["crops"] if args.crops else [])])
    tiling = Tiling(args.tile, args.overlap, whole=max(args.tile, Tiling.whole))
    images = find_images(args.input, args.recursive)
    predictor = Predictor(
        args.model,
        args.weights,
        options=args.opts,
        backend=args.backend,
        tiling=tiling,
        diameter=args.diameter,
        threshold=args.threshold,
    )
    settings = {
        name: str(value) for name, value in vars(args).items() if name not in IRRELEVANT_ARGUMENTS
    }
    selection = Selection(args.min_area, args.max_area, args.exclude_border)
    with PredictionRun(
        predictor, args.output, exporters, args.channel, args.pixel_size, settings, selection
    ) as run:
        share = slice(processes.rank, None, processes.count)
        failed = run.work_on(images, share)
    failed = [reason for part in processes.gather(failed) for reason in part]
    if processes.rank:
        return None
    records = {name: record for name, _ in images if (record := run.record(name))}
    if not records:  # keep the tables of an earlier run
        return Summary(len(images), 0, 0, failed, 0, [])
    try:
        written = join_parts(args.output, run.done, records, exporters)
        if any(exporter.name == PageExporter.name for exporter in exporters):
            written.append(args.output / "index.html")
            chosen = {name: value for name, value in settings.items() if value not in UNSET}
            write_page(written[-1], records, run.done, failed, chosen)
    except DamagedPartError as error:
        error.part.unlink(missing_ok=True)  # the next run writes it again
        failed, written = [*failed, str(error)], []
    except OSError as error:  # for example a full disk; earlier failures are reported too
        failed, written = [*failed, f"{args.output}: {error}"], []
    rows = [row for record in records.values() for row in record["images"]]
    nuclei, doubtful = sum(row["nuclei"] for row in rows), sum(bool(row["warning"]) for row in rows)
    return Summary(len(images), len(records), nuclei, failed, doubtful, written)
