"""Event writer for Weights & Biases. Errors in this module never stop a training."""

import logging
import os
import secrets
import subprocess
import sys
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np
import yaml
from detectron2.data import DatasetCatalog
from detectron2.utils.collect_env import collect_env_info
from detectron2.utils.events import EventWriter, get_event_storage

from dsb2018.engine.hooks import EarlyStop
from dsb2018.images.pixels import read_picture
from dsb2018.io.csv_text import read_rows
from dsb2018.io.files import write_atomically
from dsb2018.io.names import image_file_name
from dsb2018.structures.ground_truth import has_ground_truth, read_label_layers
from dsb2018.structures.labels import flatten_labels

logger = logging.getLogger(__name__)

RUN_ID = "wandb_run_id.txt"
CLASSES = {1: "nucleus", 2: "edge"}


class WandbWriter(EventWriter):
    """Logs scalars, scores and images with masks to Weights & Biases.

    After each evaluation, it logs tables of the scores by image and by modality, and images with
    the ground truth and the predicted nuclei as masks that can be switched on and off.

    If wandb is not installed, a warning is logged. Without an account or a network, a warning is
    logged and the run is stored in `OUTPUT_DIR/wandb`; `wandb sync` uploads it later.
    """

    def __init__(self, cfg, resumed: Callable[[], bool]):
        """
        Args:
            cfg: complete config; see its WANDB keys.
            resumed: function that returns whether the training was resumed from a checkpoint; it
                is called at the first write. A resumed training continues the same wandb run.
        """
        self._cfg, self._resumed = cfg, resumed
        self._folder = Path(cfg.OUTPUT_DIR)
        self._run = None
        self._disabled = False
        self._last_write = -1

    def write(self) -> None:
        """Logs the new values in the event storage."""
        new = defaultdict(dict)
        for name, (value, iteration) in get_event_storage().latest_with_smoothing_hint(20).items():
            if iteration > self._last_write:
                new[iteration][name] = value
        for iteration in sorted(new):
            self._last_write = iteration
            self._try(self._log, new[iteration], iteration)

    def close(self) -> None:
        """Ends the run and, if `WANDB.SAVE_BEST` is set, uploads the model."""
        if self._run is not None:
            self._try(self._finish)
            self._disabled = True

    def _try(self, action: Callable, *arguments) -> None:
        if self._disabled:
            return
        try:
            if self._run is None:
                self._run = self._start()
            action(*arguments)
        except Exception as error:  # noqa: BLE001 the service, network or version can fail
            self._disabled = True
            logger.warning("Weights & Biases is disabled for the rest of this run: %r", error)

    def _start(self):
        import wandb

        cfg = self._cfg.WANDB
        path = self._folder / RUN_ID
        run_id = os.environ.get("WANDB_RUN_ID") or secrets.token_hex(4)
        if self._resumed() and path.exists():
            run_id = path.read_text()
        options = {
            "id": run_id,
            "resume": "allow",
            "dir": str(self._folder),
            "project": cfg.PROJECT or os.environ.get("WANDB_PROJECT") or "dsb2018",
            "entity": cfg.ENTITY or None,
            "name": cfg.NAME or None,
            "group": cfg.GROUP or None,
            "tags": list(cfg.TAGS) or None,
            "config": {
                **yaml.safe_load(self._cfg.dump()),
                "environment": collect_env_info(),
                "git_revision": git_revision(),
            },
            "settings": wandb.Settings(console="off"),  # log.txt has the console output
        }
        mode = cfg.MODE or os.environ.get("WANDB_MODE") or "online"
        if mode == "online" and not _has_account(wandb):
            logger.warning("Weights & Biases: no account on this machine; the run is kept offline")
            mode = "offline"
        try:
            run = wandb.init(mode=mode, **options)
        except Exception as error:
            if mode != "online":
                raise
            logger.warning(
                "Weights & Biases cannot be reached, so the run is kept offline: %s", error
            )
            run = wandb.init(mode="offline", **options)
        write_atomically(path, run_id)
        return run

    def _log(self, scalars: dict[str, float], iteration: int) -> None:
        self._run.log({**scalars, **self._media(scalars)}, step=iteration)

    def _media(self, scalars: dict[str, float]) -> dict:
        """Returns the tables and images if the datasets were evaluated in this iteration."""
        import wandb

        media = {}
        for name in self._cfg.DATASETS.TEST if any("nuclei/mAP" in key for key in scalars) else ():
            folder = self._folder / "inference" / name
            table = _read_table(folder / "images.csv")
            if table:
                media[f"{name}/images"] = wandb.Table(columns=table[0], data=table[1:])
            prefix = f"{name}/" if len(self._cfg.DATASETS.TEST) > 1 else ""
            rows = modality_rows(scalars, prefix)
            media[f"{name}/modalities"] = wandb.Table(["modality", "metric", "percent"], data=rows)
            # Each image has its own key, because the images of a list must have the same size.
            for image, caption, masks in _labeled_images(name, folder / "labels"):
                media[f"{name}/nuclei/{caption}"] = wandb.Image(image, caption=caption, masks=masks)
        return media

    def _finish(self) -> None:
        import wandb

        if self._cfg.WANDB.SAVE_BEST:
            models = [self._folder / f"model_{kind}.pth" for kind in ("best", "final")]
            for model in [path for path in models if path.exists()][:1]:
                artifact = wandb.Artifact(f"model-{self._run.id}", type="model")
                artifact.add_file(str(model))
                self._run.log_artifact(artifact, aliases=[model.stem.split("_")[1]])
        failed = sys.exc_info()[0] not in (None, EarlyStop)
        self._run.finish(exit_code=int(failed))


def _has_account(wandb) -> bool:
    """Returns whether an API key is configured, without a prompt for one."""
    try:
        return bool(wandb.login(prompt=False))
    except TypeError:  # versions of wandb without this argument
        return bool(os.environ.get("WANDB_API_KEY") or wandb.api.api_key)


def git_revision() -> str | None:
    """Returns the git commit of the code, with the suffix "-dirty" if files were changed.

    Returns None if the code is not in a git checkout.
    """
    folder = Path(__file__).parent
    command = ["git", "-C", str(folder), "describe", "--always", "--dirty", "--abbrev=40"]
    try:
        result = subprocess.run(command, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return result.stdout.strip()


def _read_table(path: Path) -> list[list]:
    """Returns the rows of `images.csv`, column names first; [] if there are none."""
    if not path.exists():
        return []
    rows = [list(row.items()) for row in read_rows(path)]
    if not rows:
        return []
    names = [name for name, _ in rows[0]]
    cells = ([cell for _, cell in row] for row in rows)
    return [names, *([row[0], row[1] or None, *map(_number, row[2:])] for row in cells)]


def _number(value: str) -> float | None:
    return float(value) if value else None


def modality_rows(scalars: dict[str, float], prefix: str = "") -> list[list]:
    """Returns a row [modality, metric, percent] for each score of a single modality.

    Args:
        scalars: {name: score}; scores of a modality have names such as "nuclei/mAP/histology".
        prefix: only names with this prefix are used.
    """
    rows = []
    for name, value in sorted(scalars.items()):
        task, _, rest = name.removeprefix(prefix).partition("/")
        metric, _, modality = rest.partition("/")
        if name.startswith(prefix) and task in ("sem_seg", "nuclei") and modality:
            rows.append([modality, metric, value])
    return rows


def _labeled_images(dataset_name: str, folder: Path) -> Iterator[tuple[np.ndarray, str, dict]]:
    """Yields the images that have predicted labels in `folder`.

    Yields:
        RGB image, caption, and masks for `wandb.Image`.
    """
    for item in DatasetCatalog.get(dataset_name):
        name = image_file_name(item)
        path = folder / f"{name}.png"
        if not path.exists():
            continue
        labels = {"prediction": cv2.imread(str(path), cv2.IMREAD_UNCHANGED)}
        if has_ground_truth(item):
            labels["ground_truth"] = flatten_labels(read_label_layers(item))
        masks = {
            kind: {"mask_data": with_edges(label_image), "class_labels": CLASSES}
            for kind, label_image in labels.items()
        }
        yield read_picture(item), name, masks


def with_edges(labels: np.ndarray) -> np.ndarray:
    """Converts a label image to two classes, so that touching nuclei can be distinguished.

    Args:
        labels: (H, W) integer, 0 is background.

    Returns:
        (H, W) uint8: 0 is background, 1 the inside of nuclei, 2 their edges.
    """
    values, kernel = labels.astype(np.float32), np.ones((3, 3), np.uint8)
    edge = cv2.erode(values, kernel) != cv2.dilate(values, kernel)
    return np.where(labels > 0, 1 + edge, 0).astype(np.uint8)
