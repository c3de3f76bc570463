"""Finds and measures the nuclei in images.

    dsb2018 predict --input my_images --output results
    dsb2018 predict --input slide.ome.tif --output results --diameter 20 --threshold 0.4
    dsb2018 predict --input plate --output results --recursive --channel DAPI --group folder

Reads PNG, JPEG, BMP, TIFF and OME-Zarr. Writes nuclei.csv (a row for each nucleus), images.csv,
label images, overlays with outlines, and index.html, a page of all results. See docs/predict.md.
"""

import argparse
import logging
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

from dsb2018.cli import FAILURE, run_command, stop_status
from dsb2018.commands.predict_parser import predict_parser
from dsb2018.commands.predict_run import open_run, open_source, process_files, settings
from dsb2018.inference.cluster import NamedPath, open_client, share_files
from dsb2018.inference.discover import find_images
from dsb2018.inference.export.page import PageExporter
from dsb2018.inference.export.parts import DamagedPartError
from dsb2018.inference.export.run_exporters import join_parts
from dsb2018.inference.run import PredictionRun
from dsb2018.io.locking import lock_folder


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
    return run_command(predict_parser(__doc__ or "", is_short=True), predict_and_report, arguments)


def predict_and_report(args: argparse.Namespace) -> int:
    """Runs `predict`, prints a summary and returns the exit status."""
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    try:
        summary = predict(args)
    except KeyboardInterrupt as stop:
        print("interrupted; the same command continues where it stopped", file=sys.stderr)
        return stop_status(stop)
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


def predict(args: argparse.Namespace) -> Summary:
    """Predicts the nuclei of all input files and writes the output folder.

    Args:
        args: arguments, see `predict_parser`.

    Raises:
        FileNotFoundError: an input, the config or the weights do not exist.
        ImportError: a library for the model, a format or Dask is not installed.
        UsageError: an argument is invalid, or another process uses the output folder.
    """
    with lock_folder(args.output, "prediction", "--output"):
        images = find_images(args.input, args.recursive)
        with open_run(args, open_source(args)) as run:
            if args.workers or args.dask:
                with open_client(args.dask, args.workers) as client:
                    failed = share_files(client, partial(process_files, args), images)
            else:
                failed = run.work_on(images)
        return _summarize(args, run, images, failed)


def _summarize(
    args: argparse.Namespace,
    run: PredictionRun,
    images: Sequence[NamedPath],
    failed: list[str],
) -> Summary:
    """Joins the results of all files."""
    records = {name: record for name, _ in images if (record := run.finished.record(name))}
    if not records:  # keep the tables of an earlier run
        return Summary(len(images), 0, 0, failed, 0, [])
    try:
        written = _join(args, run, records, failed)
    except DamagedPartError as error:
        error.part.unlink(missing_ok=True)  # the next run writes it again
        failed, written = [*failed, str(error)], []
    except OSError as error:  # for example a full disk; earlier failures are reported too
        failed, written = [*failed, f"{args.output}: {error}"], []
    rows = [row for record in records.values() for row in record["images"]]
    nuclei, doubtful = sum(row["nuclei"] for row in rows), sum(bool(row["warning"]) for row in rows)
    return Summary(len(images), len(records), nuclei, failed, doubtful, written)


def _join(
    args: argparse.Namespace, run: PredictionRun, records: dict[str, dict], failed: list[str]
) -> list[Path]:
    """Writes the files that contain all images, and returns their paths."""
    written = join_parts(args.output, run.finished.folder, records, run.exporters, args.group)
    if any(exporter.name == PageExporter.name for exporter in run.exporters):
        from dsb2018.inference.results_page import write_page  # imports matplotlib

        written.append(args.output / "index.html")
        write_page(written[-1], records, run.finished.folder, failed, settings(args), args.group)
    return written
