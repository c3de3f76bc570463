"""Exports a trained dense model to ONNX, or as a package of bioimage.io.

    dsb2018 export --output nuclei.onnx
    dsb2018 export --output nuclei_int8.onnx --int8 --images FOLDER
    dsb2018 export --format bioimageio --output nuclei.zip
    dsb2018 predict --input … --output … --model nuclei.onnx

The file runs without torch; the export itself needs the installation for training. --int8 quantizes
the network to 8-bit integers. The calibration uses --images, which should be a few dozen images
like those that the model will be used on.
"""

import argparse
import logging
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from dsb2018.cli import output_file, run_command
from dsb2018.errors import UsageError
from dsb2018.io.files import read_json, write_atomically
from dsb2018.options import add_model, add_weights_and_opts, make_parser

if TYPE_CHECKING:  # imports torch
    from dsb2018.inference.predictor import Predictor

AUTHOR = "The dsb2018 contributors"  # of the packaged models
LICENSE = "Apache-2.0"
SHORTEST_NAME = 5  # characters
SCORES = (("sem_seg", "IoU"), ("nuclei", "mAP"), ("nuclei", "AP50"), ("nuclei", "PQ"))
MAX_CALIBRATION_IMAGES = 48
CALIBRATION_EDGE = 320  # pixels


def main(arguments: list[str] | None = None) -> int:
    parser = make_parser(__doc__ or "")
    add = parser.add_argument
    add("--output", type=output_file, required=True, metavar="FILE", help="the file to write")
    add("--format", choices=("onnx", "bioimageio"), default="onnx", help="(default: onnx)")
    add("--int8", action="store_true", help="quantize the network to 8-bit integers (onnx)")
    add("--images", nargs="+", metavar="PATH", help="images for the calibration of --int8")
    package = parser.add_argument_group("for --format bioimageio")
    add = package.add_argument
    add("--name", help="name of the model (default: that of the file)")
    add(
        "--author", nargs="+", default=[AUTHOR], metavar="NAME", help=f"authors (default: {AUTHOR})"
    )
    add("--license", default=LICENSE, help=f"SPDX identifier (default: {LICENSE})")
    add("--gray", action="store_true", help="input of one channel instead of red, green and blue")
    add_model(parser)
    add_weights_and_opts(parser)
    return run_command(parser, export_and_report, arguments)


def export_and_report(args: argparse.Namespace) -> None:
    if args.int8 and not args.images:
        raise UsageError("--int8 needs --images for the calibration")
    if args.format == "bioimageio":
        if args.int8:
            raise UsageError("--int8 is not for --format bioimageio")
        if args.output.suffix != ".zip":
            raise UsageError(f"--output {args.output}: a package of bioimage.io ends in .zip")
        if len(args.name or args.output.stem) < SHORTEST_NAME:
            raise UsageError(f"--name: bioimage.io expects at least {SHORTEST_NAME} characters")
    elif args.output.suffix == ".zip":
        raise UsageError(f"--output {args.output}: a zip file needs --format bioimageio")
    if args.model and Path(args.model).suffix in (".onnx", ".zip"):
        raise UsageError(f"--model {args.model}: it is exported; name what it was exported from")
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    if args.format == "bioimageio":
        export_package(args)
    else:
        export_model(args)
    print(f"{args.output}: {args.output.stat().st_size / 1e6:.1f} MB")


def export_model(args: argparse.Namespace) -> None:
    """Exports the model to ONNX and, with `--int8`, quantizes it."""
    from dsb2018.images import open_images
    from dsb2018.inference.discover import find_images
    from dsb2018.inference.predictor import Predictor
    from dsb2018.modeling.onnx_export import export, quantise

    options = [*args.opts, "MODEL.DEVICE", "cpu"]
    predictor = Predictor(args.model, args.weights, options=options, backend="torch")
    if not args.int8:
        with whole_file(args.output) as path:
            export(predictor.model, predictor.spec, path)
        return
    files = find_images(args.images)
    count = min(len(files), MAX_CALIBRATION_IMAGES)
    selection = [files[index * len(files) // count] for index in range(count)]
    sources = [source for name, path in selection for source in open_images(name, path)]
    images = [
        predictor.prepare(source.read(0, 0, *(min(edge, 512) for edge in source.size)))
        for source in sources
        if source.depth is None
    ]
    if not images:
        raise ValueError("--images contains only stacks, expected 2-D images")
    images = [calibration_window(predictor, image) for image in images]
    with tempfile.TemporaryDirectory() as folder, whole_file(args.output) as path:
        exported = Path(folder) / "model.onnx"
        export(predictor.model, predictor.spec, exported)
        quantise(exported, path, images, predictor.model)


def export_package(args: argparse.Namespace) -> None:
    """Exports the model as a package of bioimage.io."""
    from dsb2018.inference.bioimageio_document import PackageDetails
    from dsb2018.inference.bioimageio_export import write_package
    from dsb2018.inference.predictor import Predictor

    options = [*args.opts, "MODEL.DEVICE", "cpu"]
    predictor = Predictor(args.model, args.weights, options=options, backend="torch")
    details = PackageDetails(
        name=args.name or args.output.stem,
        authors=args.author,
        license=args.license,
        scores={} if args.weights or args.opts else known_scores(args.model),
        is_gray=args.gray,
    )
    write_package(predictor, details, args.output)


def known_scores(model: str | None) -> dict[str, dict[str, float]]:
    """Returns the scores of a packaged model, or of the folder of a training.

    Returns:
        {dataset: {name: percent}} with the names in `SCORES`; {} if none are known.
    """
    from dsb2018.inference.opened_model import DEFAULT, is_config
    from dsb2018.runtime.packaged import FOLDER, find_packaged

    if is_config(model):
        files = sorted(Path(str(model)).glob("inference/*/results.json"))
        results = {file.parent.name: read_json(file) for file in files}
    else:
        record: Any = read_json(FOLDER / f"{find_packaged(model or DEFAULT)}.json")
        results = {record["evaluated_on"]: record["scores"]}
    return {
        dataset: {
            score: values[task][score]
            for task, score in SCORES
            if isinstance(values.get(task, {}).get(score), (int, float))
        }
        for dataset, values in results.items()
        if isinstance(values, dict)
    }


def calibration_window(predictor: "Predictor", image: np.ndarray) -> np.ndarray:
    """Returns a window of an image at the scale at which the network processes it.

    All windows have one size, because the calibration needs it. Smaller images are mirrored.

    Args:
        predictor: the model.
        image: (H, W, 3) uint8, see `Predictor.prepare`.
    """
    from dsb2018.inference.tiling.windows import window_reader
    from dsb2018.structures.scale import resize_by

    zoom = predictor.find_zoom(window_reader(image), image.shape[:2])
    window = resize_by(image, zoom)[:CALIBRATION_EDGE, :CALIBRATION_EDGE]
    missing = [(0, CALIBRATION_EDGE - edge) for edge in window.shape[:2]]
    return np.pad(window, (*missing, (0, 0)), mode="symmetric")


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Context with a temporary path, whose file is moved to `path` when it is complete.

    It is meant for libraries that can only write to a path.
    """
    with tempfile.TemporaryDirectory() as folder:
        unfinished = Path(folder) / path.name
        yield unfinished
        write_atomically(path, unfinished.read_bytes())
