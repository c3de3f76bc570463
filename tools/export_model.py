"""Writes a trained dense model as ONNX, which ONNX Runtime runs instead of torch.

    python tools/export_model.py --output nuclei.onnx
    python tools/export_model.py --output nuclei_int8.onnx --int8 --images FOLDER
    python tools/predict.py --input … --output … --backend onnxruntime --weights nuclei.onnx

--int8 quantises the network to 8-bit integers, calibrated on --images: some dozens of images of the
kind that it will be used for. Needs `pip install onnx onnxruntime`.
"""

import argparse
import logging
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from dsb2018.cli import output_file, run_command
from dsb2018.errors import UsageError
from dsb2018.io.files import write_atomically
from dsb2018.options import add_model_options, make_parser, read_options

MOST_IMAGES = 48  # for the calibration


def main(arguments: list[str] | None = None) -> int:
    parser = make_parser(__doc__)
    add = parser.add_argument
    add("--output", type=output_file, required=True, metavar="FILE", help="the ONNX file to write")
    add("--int8", action="store_true", help="write 8-bit integers instead of floats")
    add("--images", nargs="+", metavar="PATH", help="images that --int8 is calibrated on")
    add_model_options(parser, default="the light U-Net of this package")
    return run_command(parser, run, arguments)


def run(args: argparse.Namespace) -> None:
    if args.int8 and not args.images:
        raise UsageError("--int8 needs --images")
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    export_model(args)
    print(f"{args.output}: {args.output.stat().st_size / 1e6:.1f} MB")


def export_model(args: argparse.Namespace) -> None:
    """Exports, and quantises."""
    from dsb2018.inference.discover import find_images
    from dsb2018.inference.predictor import Predictor
    from dsb2018.inference.readers import open_images
    from dsb2018.modeling.onnx_export import export, quantise

    options = [*read_options(args), "MODEL.DEVICE", "cpu"]
    predictor = Predictor(args.config_file, options=options)
    if not args.int8:
        with whole_file(args.output) as path:
            export(predictor.model, path)
        return
    files = find_images(args.images)
    chosen = files[:: max(1, len(files) // MOST_IMAGES)][:MOST_IMAGES]
    pictures = [picture for name, path in chosen for picture in open_images(name, path)]
    images = [
        predictor.prepare(picture.read(0, 0, *(min(edge, 512) for edge in picture.size)))
        for picture in pictures
        if picture.depth is None
    ]
    if not images:
        raise ValueError("--images: there are stacks only, expected some 2-D images")
    size = np.min([image.shape[:2] for image in images], axis=0)  # quantising wants one size
    images = [image[: size[0], : size[1]] for image in images]
    with tempfile.TemporaryDirectory() as folder, whole_file(args.output) as path:
        exported = Path(folder) / "model.onnx"
        export(predictor.model, exported)
        quantise(exported, path, images, predictor.model)


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """A file for libraries that write to a name; it is moved to its place when it is complete."""
    with tempfile.TemporaryDirectory() as folder:
        unfinished = Path(folder) / path.name
        yield unfinished
        write_atomically(path, unfinished.read_bytes())


if __name__ == "__main__":
    sys.exit(main())
