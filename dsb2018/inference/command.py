"""What `tools/predict.py` does, from arguments to a summary."""

import argparse
import os
from contextlib import nullcontext
from datetime import timedelta
from pathlib import Path
from typing import NamedTuple

from dsb2018.cli import output_folder
from dsb2018.inference.finding import find_images
from dsb2018.inference.formats.parts import DamagedPartError
from dsb2018.inference.run import Run
from dsb2018.inference.stitching import Tiling
from dsb2018.inference.writing import FORMATS, join
from dsb2018.locking import lock_folder

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


def argument_parser(epilog: str | None = None) -> argparse.ArgumentParser:
    """The command's arguments."""
    parser = argparse.ArgumentParser(
        epilog=epilog, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--input", nargs="+", required=True, metavar="PATH", help="files, folders, patterns")
    add("--output", type=output_folder, required=True, metavar="DIR")
    add("--config-file", help="of the model (default: the light U-Net of the package)")
    add(
        "--format",
        nargs="+",
        choices=FORMATS,
        default=["labels", "overlay"],
        help="what is written beside the tables (default: labels overlay)",
    )
    add("--crops", action="store_true", help="also a picture of each nucleus")
    add("--channel", help="that the nuclei are in: a number from 0, or its name in the file")
    add("--pixel-size", type=_length, metavar="UM", help="edge of a pixel, micrometres")
    add("--tile", type=int, default=Tiling.edge, help="edge of tiles of large images, pixels")
    add("--overlap", type=int, default=Tiling.margin, help="more than nuclei are wide, pixels")
    add("--backend", choices=("torch", "onnxruntime"), default="torch")
    add(
        "opts",
        nargs=argparse.REMAINDER,
        metavar="KEY VALUE",
        help="overrides of the config, last, and not straight after --input or --format",
    )
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
    # What needs torch; the processes that write import this module too, and do without.
    from detectron2.utils import comm

    from dsb2018.engine.processes import process_group

    with process_group("cpu", PATIENCE):  # they only tell each other what failed
        held = lock_folder(args.output, "prediction", "--output")
        with held if comm.is_main_process() else nullcontext():
            return _predict(args)


def _predict(args: argparse.Namespace) -> Summary | None:
    import torch
    from detectron2.utils import comm

    from dsb2018.inference.predictor import Predictor, find_model

    formats = [*args.format, *(["crops"] if args.crops else [])]
    tiling = Tiling(args.tile, args.overlap, whole=max(args.tile, Tiling.whole))
    images = find_images(args.input)
    config, weights = find_model(args.config_file, args.opts)
    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", 0)) % torch.cuda.device_count())
    predictor = Predictor(config, weights, options=args.opts, backend=args.backend, tiling=tiling)
    asked = {k: str(v) for k, v in vars(args).items() if k not in NO_INFLUENCE}
    with Run(predictor, args.output, formats, args.channel, args.pixel_size, asked) as run:
        share = slice(comm.get_rank(), None, comm.get_world_size())
        failed = run.work_on(images, share)
    failed = [reason for part in comm.gather(failed) for reason in part]
    if not comm.is_main_process():
        return None
    records = {name: record for name, _ in images if (record := run.record(name))}
    if not records:  # tables of a run before stay as they are
        return Summary(len(images), 0, 0, failed, [])
    try:
        written = join(args.output, run.done, records, formats)
    except DamagedPartError as error:
        error.part.unlink(missing_ok=True)  # which the next run notices
        failed, written = [*failed, str(error)], []
    except OSError as error:  # as on a full disk, where it is not the only thing that failed
        failed, written = [*failed, f"{args.output}: {error}"], []
    nuclei = sum(row["nuclei"] for record in records.values() for row in record["images"])
    return Summary(len(images), len(records), nuclei, failed, written)
