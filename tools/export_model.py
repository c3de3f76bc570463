"""Writes a trained dense model as ONNX, for ONNX Runtime to run in torch's place.

    python tools/export_model.py --output nuclei.onnx
    python tools/export_model.py --output nuclei_int8.onnx --int8 --images FOLDER
    python tools/predict.py --input … --output … --backend onnxruntime MODEL.WEIGHTS nuclei.onnx

Without --config-file it is the light U-Net of the package. --int8 writes 8-bit integers; the images
are some dozens of the kind that it will see. Needs `pip install onnx onnxruntime`.
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
from dsb2018.files import write_atomically

MOST_IMAGES = 48  # that 8-bit integers are fitted to


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        epilog=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--output", type=output_file, required=True, help="the ONNX file")
    parser.add_argument("--config-file", help="of the model (default: the package's light U-Net)")
    parser.add_argument("--int8", action="store_true", help="8-bit integers instead of floats")
    parser.add_argument("--images", nargs="+", metavar="PATH", help="what --int8 is fitted to")
    parser.add_argument("opts", nargs=argparse.REMAINDER, metavar="KEY VALUE", help="of the config")
    return run_command(parser, run, arguments)


def run(args: argparse.Namespace) -> None:
    if args.int8 and not args.images:
        raise UsageError("--int8 needs --images")
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    export_model(args)
    print(f"{args.output}: {args.output.stat().st_size / 1e6:.1f} MB")


def export_model(args: argparse.Namespace) -> None:
    """Exports, and quantises."""
    from dsb2018.inference.finding import find_images
    from dsb2018.inference.onnx_backend import export, quantise
    from dsb2018.inference.predictor import Predictor, find_model
    from dsb2018.inference.readers import open_picture

    config, weights = find_model(args.config_file, args.opts)
    predictor = Predictor(config, weights, options=[*args.opts, "MODEL.DEVICE", "cpu"])
    if not args.int8:
        with whole_file(args.output) as path:
            export(predictor.model, path)
        return
    found = find_images(args.images)
    chosen = found[:: max(1, len(found) // MOST_IMAGES)][:MOST_IMAGES]
    pictures = [picture for name, path in chosen for picture in open_picture(name, path)]
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
