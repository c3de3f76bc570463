"""Opens trained models in torch."""

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path

import torch
from detectron2.utils.file_io import PathManager

from dsb2018.checkpoint import FOLDER, find_weights
from dsb2018.config import read_config
from dsb2018.inference.opened_model import DEFAULT, OpenedModel, is_config
from dsb2018.io.files import sha256
from dsb2018.modeling import load_model
from dsb2018.runtime.model_spec import ModelSpec
from dsb2018.runtime.packaged import PREFIX, find_packaged

CHECKPOINTS = ("model_best.pth", "model_final.pth")  # in the folder of a training; the first counts


def open_torch_model(
    model: str | os.PathLike | None,
    weights: str | os.PathLike | None,
    options: Sequence = (),
    threshold: float | None = None,
) -> OpenedModel:
    """Opens a model, see `open_model`."""
    config, weights = find_config(model, weights, options)
    options = [*options, "MODEL.WEIGHTS", weights]
    cfg = read_config(config, options)
    if threshold is not None:
        key = "TEST.SCORE_THRESH" if cfg.MODEL.MASK_ON else "MODEL.INSTANCES.NUCLEUS_THRESH"
        cfg = read_config(config, [*options, key, threshold])
    run = load_model(cfg)
    digest = sha256(PathManager.get_local_path(cfg.MODEL.WEIGHTS))
    fingerprint = hashlib.sha256((cfg.dump() + digest).encode()).hexdigest()
    return OpenedModel(ModelSpec.from_config(cfg), run, torch.get_num_threads(), fingerprint)


def find_config(
    model: str | os.PathLike | None, weights: str | os.PathLike | None, options: Sequence = ()
) -> tuple[str, str]:
    """Returns the config and the weights of a model.

    Args:
        model: see `open_model`.
        weights: the weights to use; None: `MODEL.WEIGHTS` of the options; else for a folder, its
            best or else its last checkpoint; for a config, those of `find_weights`; for a packaged
            model, its own.
        options: KEY, VALUE, … that override the config.

    Raises:
        FileNotFoundError: the config does not exist, or has no weights.
    """
    given = dict(zip(options[::2], options[1::2], strict=False)).get("MODEL.WEIGHTS")
    weights = str(weights or given or "")
    if not is_config(model):
        name = find_packaged(str(model or DEFAULT))
        return str(FOLDER / f"{name}.yaml"), weights or f"{PREFIX}{name}"
    config = Path(model)  # type: ignore[arg-type]
    if config.is_dir():
        folder, config = config, config / "config.yaml"
        found = (folder / name for name in CHECKPOINTS)
        weights = weights or str(next((file for file in found if file.exists()), ""))
    if not config.is_file():
        raise FileNotFoundError(f"{config}: no such config file")
    weights = weights or find_weights(str(config))
    if not weights:
        raise FileNotFoundError(
            f"{config}: no weights in its OUTPUT_DIR or in this package; train the model, or "
            "pass --weights"
        )
    return str(config), weights
