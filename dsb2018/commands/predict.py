"""Finds and measures the nuclei in images.

    dsb2018 predict --input my_images --output results
    dsb2018 predict --input slide.ome.tif --output results --diameter 20 --threshold 0.4
    dsb2018 predict --input plate --output results --channel DAPI --group folder

Reads PNG, JPEG, BMP, TIFF and OME-Zarr. Writes nuclei.csv (a row for each nucleus), images.csv,
label images, overlays with outlines, and index.html, a page of all results. See docs/predict.md.
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
from dsb2018.commands.predict_parser import predict_parser
from dsb2018.errors import UsageError
from dsb2018.inference.discover import find_images
from dsb2018.inference.export.base import Exporter, choose_exporters
from dsb2018.inference.export.page import PageExporter
from dsb2018.inference.export.parts import DamagedPartError
from dsb2018.inference.export.run_exporters import join_parts
from dsb2018.inference.given_nuclei import GivenNuclei
from dsb2018.inference.predictor import Predictor
from dsb2018.inference.run import PredictionRun
from dsb2018.inference.selection import Selection
from dsb2018.inference.tiling.stitching import Tiling
from dsb2018.io.locking import lock_folder

PATIENCE = timedelta(days=7)  # timeout for the slowest of several processes
UNSET = (None, False, [])  # values of options that were not given
# Arguments that do not change the results of a file.
IRRELEVANT_ARGUMENTS = ("input", "output", "recursive", "debug", "group")


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
    return run_command(predict_parser(__doc__ or ""), predict_and_report, arguments)


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
        args: arguments, see `predict_parser`.

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
    images = find_images(args.input, args.recursive)
    settings = {
        name: str(value) for name, value in vars(args).items() if name not in IRRELEVANT_ARGUMENTS
    }
    selection = Selection(args.min_area, args.max_area, args.exclude_border)
    with PredictionRun(
        _open_source(args),
        args.output,
        exporters,
        args.channel,
        args.pixel_size,
        settings,
        selection,
        args.gamma,
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
        written = _join(args, run.done, records, exporters, failed)
    except DamagedPartError as error:
        error.part.unlink(missing_ok=True)  # the next run writes it again
        failed, written = [*failed, str(error)], []
    except OSError as error:  # for example a full disk; earlier failures are reported too
        failed, written = [*failed, f"{args.output}: {error}"], []
    rows = [row for record in records.values() for row in record["images"]]
    nuclei, doubtful = sum(row["nuclei"] for row in rows), sum(bool(row["warning"]) for row in rows)
    return Summary(len(images), len(records), nuclei, failed, doubtful, written)


def _open_source(args: argparse.Namespace) -> Predictor | GivenNuclei:
    """Opens what the nuclei come from: a model, or files."""
    if args.measure_only:
        given = {"--model": args.model, "--weights": args.weights, "--opts": args.opts}
        given |= {"--diameter": args.diameter, "--threshold": args.threshold}
        if names := [name for name, value in given.items() if value not in (None, [])]:
            raise UsageError(f"--measure-only: {names[0]} has no effect, as no model is used")
        return GivenNuclei(args.input, Path(args.measure_only), args.output)
    return Predictor(
        args.model,
        args.weights,
        options=args.opts,
        backend=args.backend,
        tiling=Tiling(args.tile, args.overlap, whole=max(args.tile, Tiling.whole)),
        diameter=args.diameter,
        threshold=args.threshold,
    )


def _join(
    args: argparse.Namespace,
    done: Path,
    records: dict[str, dict],
    exporters: list[Exporter],
    failed: list[str],
) -> list[Path]:
    """Writes the files that contain all images, and returns their paths."""
    written = join_parts(args.output, done, records, exporters, args.group)
    if any(exporter.name == PageExporter.name for exporter in exporters):
        from dsb2018.inference.results_page import write_page  # imports matplotlib

        written.append(args.output / "index.html")
        write_page(written[-1], records, done, failed, _settings(args), args.group)
    return written


def _settings(args: argparse.Namespace) -> dict[str, str]:
    """Returns the options that were given or have a default, {option: value}."""
    return {
        f"--{name.replace('_', '-')}": " ".join(map(str, value))
        if isinstance(value, list)
        else str(value)
        for name, value in vars(args).items()
        if name not in ("output", "debug") and value not in UNSET
    }
