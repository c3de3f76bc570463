"""The entrants of a comparison: models of this project, and other tools' label images.

Every entrant gives a `Prediction` for each image, so that the same code scores all of them.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dsb2018.checkpoint import FOLDER
from dsb2018.config import read_config
from dsb2018.data import EvaluationMapper
from dsb2018.errors import UsageError
from dsb2018.inference.readers import open_images
from dsb2018.io.arrays import read_array
from dsb2018.io.files import read_json
from dsb2018.io.names import file_name, image_file_name
from dsb2018.modeling import load_model
from dsb2018.structures.nuclei import Nuclei, Prediction

LABEL_SUFFIXES = (".tif", ".tiff", ".png", ".npy")
MOST_MASKS = 1 << 31  # pixels of the masks of all nuclei of an image
COST_FILE = "cost.json"  # in a folder of label images: what that tool took


@dataclass(frozen=True)
class Entrant:
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


def name_entrants(
    configs: Iterable[str], weights: Iterable[str], predictions: Iterable[tuple[str, str]]
) -> list[Entrant]:
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
        Entrant(name if names.count(name) == 1 else f"{name} {Path(file).stem}", config, file)
        for name, config, file in zip(names, configs, weights, strict=True)
    ]
    everybody = [*models, *(Entrant(name, "", folder) for name, folder in predictions)]
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


def training_datasets(entrant: Entrant) -> tuple[str, ...]:
    """The datasets that an entrant was trained on, as far as files say: `config.yaml` beside its
    weights, which knows what the command line changed; the record of the package's weights; else
    its config. Of other tools `trained_on` in `cost.json`."""
    if not entrant.is_model:
        return tuple(read_cost(entrant.weights).get("trained_on", ()))
    if entrant.weights.startswith("dsb2018://"):
        record = FOLDER / f"{entrant.weights.removeprefix('dsb2018://')}.json"
        return tuple(read_json(record)["trained_on"])
    beside = Path(entrant.weights).parent / "config.yaml"
    config = str(beside) if beside.is_file() else entrant.config
    return tuple(read_config(config).DATASETS.TRAIN)


@dataclass(frozen=True)
class LoadedEntrant:
    """An entrant that is ready to predict.

    Args:
        predict: from a dataset dict to a prediction.
        parameters: number of a model's parameters; None: not known.
        ranked: whether the scores of its nuclei mean anything, without which there is no COCO AP.
    """

    predict: Callable[[dict], Prediction]
    parameters: int | None
    ranked: bool


def load_entrant(entrant: Entrant) -> LoadedEntrant:
    """A model with its weights, or the reader of a folder.

    Raises:
        FileNotFoundError: no such config, weights or folder.
        ValueError: weights of another model.
    """
    return _load_model(entrant) if entrant.is_model else _open_folder(entrant.weights)


def _load_model(entrant: Entrant) -> LoadedEntrant:
    cfg = read_config(entrant.config, ["MODEL.WEIGHTS", entrant.weights])
    model, mapper = load_model(cfg), EvaluationMapper(cfg)
    return LoadedEntrant(lambda item: model([mapper(item)])[0], model.parameter_count, ranked=True)


def _open_folder(folder: str) -> LoadedEntrant:
    if not Path(folder).is_dir():
        raise FileNotFoundError(f"{folder}: no such folder of label images")

    def predict(item: dict) -> Prediction:
        size = item["height"], item["width"]
        return labels_to_prediction(read_labels(folder, image_file_name(item), size))

    return LoadedEntrant(predict, read_cost(folder).get("parameters"), ranked=False)


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
    (picture, *others) = open_images(path.stem, path)
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


def labels_to_prediction(labels: np.ndarray) -> Prediction:
    """A label image as a model's prediction: each nucleus has the score 1.

    Args:
        labels: (H, W) integers, 0 is background. Numbers may be missing.
    """
    _, ranks = np.unique(np.append(labels, 0), return_inverse=True)  # 0 for the background
    dense = ranks[:-1].reshape(labels.shape).astype(np.int32)
    nuclei = Nuclei.from_labels(dense)
    return Prediction(nuclei, nuclei, dense > 0)
