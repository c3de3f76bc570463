"""Who takes part in a comparison: models of this project, and folders of any other tool's results.

A contestant gives for each image what a model gives, so that one code scores all of them.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from detectron2.structures import Boxes, Instances

from dsb2018.arrays import read_array
from dsb2018.config import read_config
from dsb2018.data import NucleiMapper
from dsb2018.engine.precision import autocast, inference_precision
from dsb2018.engine.trainer import Trainer
from dsb2018.errors import UsageError
from dsb2018.files import read_json
from dsb2018.inference.readers import open_picture
from dsb2018.modeling import NucleiCheckpointer
from dsb2018.modeling.instances import find_boxes
from dsb2018.modeling.weights import FOLDER
from dsb2018.names import file_name, image_file_name

LABEL_SUFFIXES = (".tif", ".tiff", ".png", ".npy")
MOST_MASKS = 1 << 31  # pixels of the masks of all nuclei of an image
COST_FILE = "cost.json"  # in a folder of label images: what that tool took


@dataclass(frozen=True)
class Contestant:
    """Who, and from what.

    Args:
        name: as in the tables.
        config: a config file; "" for a folder of labels.
        weights: as in MODEL.WEIGHTS, or the folder of labels.
    """

    name: str
    config: str
    weights: str

    @property
    def is_model(self) -> bool:
        """Whether it is a model of this project."""
        return bool(self.config)

    @property
    def folder_name(self) -> str:
        """Its name as one folder."""
        return file_name(self.name.replace("/", "-").replace(" ", "_"))


def name_contestants(
    configs: Iterable[str], weights: Iterable[str], predictions: Iterable[tuple[str, str]]
) -> list[Contestant]:
    """Models by the path of their config, other tools by the name that they were given.

    Args:
        configs, weights: of the models, equally many.
        predictions: name and folder of label images of each other tool.

    Raises:
        UsageError: unequal numbers, or two of the same name.
    """
    configs, weights = list(configs), list(weights)
    if len(configs) != len(weights):
        raise UsageError(f"{len(configs)} configs and {len(weights)} weights, expected as many")
    names = ["/".join(_name_path(Path(config)).parts[-2:]) for config in configs]
    models = [
        Contestant(name if names.count(name) == 1 else f"{name} {Path(file).stem}", config, file)
        for name, config, file in zip(names, configs, weights, strict=True)
    ]
    everybody = [*models, *(Contestant(name, "", folder) for name, folder in predictions)]
    folders = [each.folder_name for each in everybody]
    twice = sorted({each.name for each in everybody if folders.count(each.folder_name) > 1})
    if twice:
        raise UsageError(
            f"two of the name {twice[0]!r}; use --predictions NAME=DIR for one of them"
        )
    return everybody


def _name_path(config: Path) -> Path:
    """The path whose end names a model: training writes `config.yaml` into each model's folder."""
    is_of_run = config.name == "config.yaml"
    return config.absolute().parent if is_of_run else config.with_suffix("")


def training_datasets(contestant: Contestant) -> tuple[str, ...]:
    """The datasets that a contestant was trained on, as far as files say: `config.yaml` beside its
    weights, which knows what the command line changed; the record of the package's weights; else
    its config. Of other tools `trained_on` in `cost.json`."""
    if not contestant.is_model:
        return tuple(read_cost(contestant.weights).get("trained_on", ()))
    if contestant.weights.startswith("dsb2018://"):
        record = FOLDER / f"{contestant.weights.removeprefix('dsb2018://')}.json"
        return tuple(read_json(record)["trained_on"])
    beside = Path(contestant.weights).parent / "config.yaml"
    config = str(beside) if beside.is_file() else contestant.config
    return tuple(read_config(config).DATASETS.TRAIN)


@dataclass(frozen=True)
class Predictor:
    """
    Args:
        predict: a dataset dict → `sem_seg` and `instances`, as a model gives them.
        score_thresh: instances below it do not count as found, 0 to 1.
        parameters: number of a model's parameters; None: not known.
        ranked: whether the scores of instances mean anything, without which there is no COCO AP.
    """

    predict: Callable[[dict], dict]
    score_thresh: float
    parameters: int | None
    ranked: bool


def load_predictor(contestant: Contestant) -> Predictor:
    """A model with its weights, or the reader of a folder.

    Raises:
        FileNotFoundError: no such config, weights or folder.
        ValueError: weights of another model.
    """
    return _load_model(contestant) if contestant.is_model else _open_folder(contestant.weights)


def _load_model(contestant: Contestant) -> Predictor:
    cfg = read_config(contestant.config)
    model = Trainer.build_model(cfg).eval()
    NucleiCheckpointer(model).load_trained(contestant.weights)
    mapper = NucleiMapper(cfg, is_train=False)
    precision = inference_precision(cfg.SOLVER.PRECISION, cfg.MODEL.DEVICE)

    def predict(item: dict) -> dict:
        with torch.no_grad(), autocast(precision, cfg.MODEL.DEVICE):
            return model([mapper(item)])[0]

    parameters = sum(p.numel() for p in model.parameters())
    return Predictor(predict, cfg.TEST.SCORE_THRESH, parameters, ranked=True)


def _open_folder(folder: str) -> Predictor:
    if not Path(folder).is_dir():
        raise FileNotFoundError(f"{folder}: no such folder of label images")

    def predict(item: dict) -> dict:
        size = item["height"], item["width"]
        labels = read_labels(folder, image_file_name(item), size)
        return labels_to_output(labels)

    return Predictor(predict, 0.0, read_cost(folder).get("parameters"), ranked=False)


def read_labels(folder: str, name: str, size: tuple[int, int]) -> np.ndarray:
    """The label image `<name>.tif`, `.tiff`, `.png` or `.npy` of a folder.

    Returns:
        (H, W) int32, 0 is background, other numbers a nucleus each.

    Raises:
        FileNotFoundError: there is none.
        ValueError: not a label image of this size.
    """
    paths = [Path(folder) / f"{name}{suffix}" for suffix in LABEL_SUFFIXES]
    path = next((path for path in paths if path.exists()), None)
    if path is None:
        raise FileNotFoundError(f"{folder}: no {name} with one of the endings {LABEL_SUFFIXES}")
    labels = _read_pixels(path, size)
    is_whole = np.issubdtype(labels.dtype, np.integer)
    if labels.shape != size or not is_whole or labels.min(initial=0) < 0:
        raise ValueError(
            f"{path}: {labels.dtype} of {labels.shape}, expected whole numbers of {size}, 0 for "
            "background and another number for each nucleus"
        )
    numbers = np.unique(labels)
    if numbers.size * labels.size > MOST_MASKS or numbers.max(initial=0) > np.iinfo(np.int32).max:
        raise ValueError(
            f"{path}: {numbers.size} labels up to {numbers.max()}; is it a label image?"
        )
    return labels.astype(np.int32)


def _read_pixels(path: Path, size: tuple[int, int]) -> np.ndarray:
    """The pixels of a label image.

    Raises:
        ValueError: damaged, or of another size, which is looked at before memory is taken.
    """
    if path.suffix == ".npy":
        return read_array(path)
    (picture, *others) = open_picture(path.stem, path)
    if others or picture.depth is not None or picture.size != size:
        raise ValueError(f"{path}: {picture.array.shape} pixels, expected {size}")
    return picture.read(0, 0, *size)[..., 0]


def read_cost(folder: str) -> dict:
    """`cost.json` of a folder of labels, {} without: seconds_per_image, parameters, peak_memory
    (bytes), and trained_on (names of datasets)."""
    path = Path(folder) / COST_FILE
    if not path.exists():
        return {}
    cost = read_json(path)
    if not isinstance(cost, dict) or not isinstance(cost.get("trained_on", []), list):
        raise ValueError(f"{path}: expected a JSON dict, with `trained_on` a list of names")
    return cost


def labels_to_output(labels: np.ndarray) -> dict:
    """A label image as a model's output: each nucleus has the score 1.

    Args:
        labels: (H, W) int32, 0 is background.
    """
    numbers, flat = np.unique(labels, return_inverse=True)
    dense = flat.reshape(labels.shape).astype(np.int32) + (0 if 0 in numbers else 1)
    count = int(dense.max(initial=0))
    x, y, w, h = find_boxes(dense).T
    instances = Instances(labels.shape)
    instances.pred_boxes = Boxes(torch.from_numpy(np.stack([x, y, x + w, y + h], axis=1)))
    instances.scores = torch.ones(count)
    instances.pred_classes = torch.zeros(count, dtype=torch.int64)
    instances.pred_masks = torch.from_numpy(dense == np.arange(1, count + 1)[:, None, None])
    nuclei = torch.from_numpy(dense > 0)
    return {"instances": instances, "sem_seg": torch.stack([~nuclei, nuclei]).float()}
