"""What `tools/predict.py` does."""

import argparse
import os
from contextlib import nullcontext
from datetime import timedelta
from pathlib import Path
from typing import NamedTuple

from dsb2018.inference.discover import find_images
from dsb2018.inference.export.base import EXPORTERS, choose_exporters
from dsb2018.inference.export.parts import DamagedPartError
from dsb2018.inference.export.run_exporters import join_parts
from dsb2018.inference.run import PredictionRun
from dsb2018.inference.tiling.stitching import Tiling
from dsb2018.io.locking import lock_folder
from dsb2018.options import add_model_options, add_output_folder, make_parser, read_options

# How long processes that share the files wait for the slowest one.
PATIENCE = timedelta(days=7)
NO_INFLUENCE = ("input", "output", "debug")  # arguments that a file's results do not depend on


class Summary(NamedTuple):
    """What became of a run.

    Args:
        files: that were asked for.
        done: of these, in this run or before.
        nuclei: in all of them.
        failed: a line for each file that failed.
        written: files for all images together.
    """

    files: int
    done: int
    nuclei: int
    failed: list[str]
    written: list[Path]


def argument_parser(text: str) -> argparse.ArgumentParser:
    """The arguments of `tools/predict.py`; `text` is its docstring."""
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
        help="output formats beside the tables (default: labels overlay)",
    )
    add("--crops", action="store_true", help="also write an image of each nucleus")
    add("--channel", help="channel of the nuclei: its index, from 0, or its name")
    add(
        "--pixel-size",
        type=_length,
        metavar="UM",
        help="width of a pixel in micrometres (default: as the file says)",
    )
    add(
        "--tile",
        type=int,
        default=Tiling.edge,
        metavar="PIXELS",
        help=f"width of the tiles of large images (default: {Tiling.edge})",
    )
    add(
        "--overlap",
        type=int,
        default=Tiling.margin,
        metavar="PIXELS",
        help="overlap of tiles; should exceed the width of the largest nucleus "
        f"(default: {Tiling.margin})",
    )
    add(
        "--backend",
        choices=("torch", "onnxruntime"),
        default="torch",
        help="library that runs the network (default: torch)",
    )
    add_model_options(parser, default="the light U-Net of this package")
    return parser


def _length(text: str) -> float:
    try:
        length = float(text)
    except ValueError:
        length = 0.0
    if not 1e-6 < length < 1e6:
        raise argparse.ArgumentTypeError(f"{text!r}, expected micrometres, such as 0.325")
    return length


def predict(args: argparse.Namespace) -> Summary | None:
    """Runs the command; None in other processes than the main one.

    Raises:
        FileNotFoundError: no such input, config or weights.
        UsageError: unusable arguments, or another process is using the output folder.
    """
    # These need torch, which `--help` and the export process do without.
    from detectron2.utils import comm

    from dsb2018.engine.processes import process_group

    with process_group("cpu", PATIENCE):  # they only tell each other what failed
        held = lock_folder(args.output, "prediction", "--output")
        with held if comm.is_main_process() else nullcontext():
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
    predictor = Predictor(args.config_file, options=options, backend=args.backend, tiling=tiling)
    influences = {k: str(v) for k, v in vars(args).items() if k not in NO_INFLUENCE}
    with PredictionRun(
        predictor, args.output, exporters, args.channel, args.pixel_size, influences
    ) as run:
        share = slice(comm.get_rank(), None, comm.get_world_size())
        failed = run.work_on(images, share)
    failed = [reason for part in comm.gather(failed) for reason in part]
    if not comm.is_main_process():
        return None
    records = {name: record for name, _ in images if (record := run.record(name))}
    if not records:  # tables of a run before stay as they are
        return Summary(len(images), 0, 0, failed, [])
    try:
        written = join_parts(args.output, run.done, records, exporters)
    except DamagedPartError as error:
        error.part.unlink(missing_ok=True)  # which the next run notices
        failed, written = [*failed, str(error)], []
    except OSError as error:  # as on a full disk, where it is not the only thing that failed
        failed, written = [*failed, f"{args.output}: {error}"], []
    nuclei = sum(row["nuclei"] for record in records.values() for row in record["images"])
    return Summary(len(images), len(records), nuclei, failed, written)
