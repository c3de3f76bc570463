"""The commands that train a packaged model further on corrections."""

import sys
from importlib.util import find_spec
from pathlib import Path

from dsb2018.errors import UsageError
from dsb2018.inference.opened_model import DEFAULT, is_config
from dsb2018.napari_plugin.corrections import IMAGES, MASKS, count_corrections
from dsb2018.runtime.packaged import FOLDER, PREFIX

NEEDED = ("torch", "detectron2")
INSTALL = 'pip install "dsb2018[train]", then Detectron2 (see the README)'
NAME = "corrections"  # of the dataset
FEWEST_TO_VALIDATE = 5  # corrections; a fifth of them is kept for the validation
# The options of configs/unet/finetune.yaml, which is not installed with the package.
OPTIONS = {
    "DATALOADER.DATASET_WEIGHTS": "[]",
    "SOLVER.IMS_PER_BATCH": "8",
    "SOLVER.BASE_LR": "0.0003",
    "SOLVER.WARMUP_ITERS": "20",
    "SOLVER.EMA_DECAY": "0.98",
}


def check_can_train(folder: Path) -> None:
    """Checks that a training could start.

    Raises:
        ImportError: a library is missing.
        UsageError: there are no corrections.
    """
    missing = [name for name in NEEDED if find_spec(name) is None]
    if missing:
        raise ImportError(f"training needs {', '.join(missing)}: {INSTALL}")
    if not count_corrections(folder):
        raise UsageError(f"{folder}: no corrections; save some first")


def new_model_folder(folder: Path) -> Path:
    """Returns the path of the next model in a folder of corrections, `model_1`, `model_2`, …"""
    number = 1
    while (folder / f"model_{number}").exists():
        number += 1
    return folder / f"model_{number}"


def training_commands(
    folder: Path, model: str, output: Path, iterations: int
) -> tuple[list[str], list[str]]:
    """Returns the commands that prepare the corrections and train on them.

    Args:
        folder: folder of corrections.
        model: packaged dense model, or folder of a training, to begin with; others are replaced by
            the default model.
        output: folder of the new model.
        iterations: number of training steps.
    """
    config, weights = _base(model)
    data = folder / "prepared"
    is_divided = count_corrections(folder) >= FEWEST_TO_VALIDATE
    prepare = ["prepare", "--input", str(folder / IMAGES), "--truth", str(folder / MASKS)]
    prepare += ["--name", NAME, "--output", str(data)]
    datasets = f"('dsb2018_{NAME}',)", "()"
    if is_divided:
        prepare += ["--val-fraction", "0.2"]
        datasets = f"('dsb2018_{NAME}_train',)", f"('dsb2018_{NAME}_val',)"
    options = {
        "MODEL.WEIGHTS": weights,
        "DATASETS.TRAIN": datasets[0],
        "DATASETS.TEST": datasets[1],
        "SOLVER.MAX_ITER": str(iterations),
        "OUTPUT_DIR": str(output),
        **OPTIONS,
    }
    train = ["train", "--config-file", config, "--data", str(data)]
    train += [text for pair in options.items() for text in pair]
    program = [sys.executable, "-W", "ignore", "-m", "dsb2018"]
    return program + prepare, program + train


def _base(model: str) -> tuple[str, str]:
    """Returns the config and the weights of a model that is trained further."""
    if is_config(model) and Path(model).is_dir():
        from dsb2018.inference.torch_models import find_config  # imports torch

        return find_config(model, None)
    name = model if (FOLDER / f"{model}.onnx").exists() else DEFAULT
    return str(FOLDER / f"{name}.yaml"), f"{PREFIX}{name}"
