"""Trains a model further on a few images of your own.

    dsb2018 finetune --input corrections --output my_model
    dsb2018 finetune --output my_model --resume
    dsb2018 predict --input … --output … --model my_model

--input is what `dsb2018 prepare` reads: images and their nuclei, for example results that you
corrected. With at least 5 images, a fifth of them is kept out of the training, which ends with the
scores on these. For more control, use `dsb2018 prepare` and `dsb2018 train`.
"""

import argparse
from pathlib import Path

from dsb2018.cli import output_folder, run_command, whole_number
from dsb2018.commands import prepare
from dsb2018.errors import UsageError
from dsb2018.options import make_parser
from dsb2018.prepare.forms import open_form
from dsb2018.runtime.packaged import FOLDER, PREFIX, find_packaged

MODEL = "nuclei"
ITERATIONS = 200
NAME = "mine"  # of the dataset
FEWEST_TO_VALIDATE, VALIDATED = 5, 0.2  # images
# As in configs/unet/finetune.yaml, which is not installed with the package.
OPTIONS = {
    "DATALOADER.DATASET_WEIGHTS": "[]",
    "SOLVER.IMS_PER_BATCH": "8",
    "SOLVER.BASE_LR": "0.0003",
    "SOLVER.WARMUP_ITERS": "20",
    "SOLVER.EMA_DECAY": "0.98",
}


def main(arguments: list[str] | None = None) -> int:
    parser = make_parser(__doc__ or "")
    add = parser.add_argument
    add("--input", help="folder or zip archive of images and their nuclei")
    add("--truth", help="the nuclei, if they are not in the input")
    add("--output", type=output_folder, required=True, help="folder for the new model")
    add(
        "--model",
        default=MODEL,
        help=f"packaged dense model, or folder of a training, to begin with (default: {MODEL})",
    )
    add(
        "--iterations",
        type=whole_number(1, 1_000_000),
        default=ITERATIONS,
        help=f"number of training steps of 8 images (default: {ITERATIONS})",
    )
    add(
        "--resume",
        action="store_true",
        help="continue an interrupted training with this --output; its other options stay the same",
    )
    return run_command(parser, finetune, arguments)


def finetune(args: argparse.Namespace) -> int:
    """Prepares the images and trains on them; returns the exit status."""
    from dsb2018.commands import train  # imports torch; fails at once where it is not installed

    output, data = Path(args.output), Path(args.output) / "data"
    if args.resume:
        if not (output / "config.yaml").exists():
            raise UsageError(f"--resume: {output} contains no training")
        config = str(output / "config.yaml")
        return train.main(["--config-file", config, "--data", str(data), "--resume"])
    if not args.input:
        raise UsageError("--input is needed, except with --resume")
    if (output / "config.yaml").exists():
        raise UsageError(
            f"{output}: there is a model already; choose another --output, or --resume its training"
        )
    if output.resolve() in (Path(path).resolve() for path in (args.input, args.truth) if path):
        raise UsageError(f"--output {output}: it contains the images; choose another folder")
    config, weights = find_start(args.model)
    is_divided = count_images(args.input, args.truth) >= FEWEST_TO_VALIDATE
    source = ["--input", args.input, *(["--truth", args.truth] if args.truth else [])]
    division = ["--val-fraction", str(VALIDATED)] if is_divided else []
    command = [*source, "--name", NAME, "--output", str(data), "--skip-bad", *division]
    if status := prepare.main(command):
        return status
    name = f"dsb2018_{NAME}"
    options = {
        **OPTIONS,
        "MODEL.WEIGHTS": weights,
        "DATASETS.TRAIN": f"('{name}_train',)" if is_divided else f"('{name}',)",
        "DATASETS.TEST": f"('{name}_val',)" if is_divided else "()",
        "SOLVER.MAX_ITER": str(args.iterations),
        "OUTPUT_DIR": str(output),
    }
    pairs = [text for pair in options.items() for text in pair]
    return train.main(["--config-file", config, "--data", str(data), *pairs])


def find_start(model: str) -> tuple[str, str]:
    """Returns the config and the weights of the model that is trained further.

    Raises:
        UsageError: there is no such model, or it is not dense.
    """
    if Path(model).is_dir():
        from dsb2018.inference.torch_models import find_config  # imports torch

        return find_config(model, None)
    name = find_packaged(model)
    if not (FOLDER / f"{name}.onnx").exists():
        raise UsageError(f"--model {name}: expected a dense model, such as {MODEL}")
    return str(FOLDER / f"{name}.yaml"), f"{PREFIX}{name}"


def count_images(images: str, truth: str | None) -> int:
    """Returns the number of images with nuclei."""
    listed, _ = open_form(Path(images), Path(truth) if truth else None).list_images()
    return sum(image.truth is not None for image in listed)
