"""The entrants of a comparison: models of this project, and label images of other tools.

Each entrant returns a `Prediction` for each image, so all entrants are scored by the same code.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dsb2018.checkpoint import FOLDER
from dsb2018.config import read_config
from dsb2018.data import EvaluationMapper
from dsb2018.errors import UsageError
from dsb2018.images.pixels import open_plane
from dsb2018.io.files import read_json
from dsb2018.io.names import file_name, image_file_name
from dsb2018.modeling import load_model
from dsb2018.structures.nuclei import Nuclei, Prediction

LABEL_SUFFIXES = (".tif", ".tiff", ".png", ".npy")
MAX_MASK_PIXELS = 1 << 31  # of an image: pixels × nuclei, which limits the memory of its masks
COST_FILE = "cost.json"  # in a folder of label images: time and memory that the tool needed


@dataclass(frozen=True)
class Entrant:
    """A model, or a folder of label images of another tool.

    Args:
        name: name in the tables.
        config: config file of a model; "" for a folder of label images.
        weights: weights of a model, as in MODEL.WEIGHTS, or the folder of label images.
    """

    name: str
    config: str
    weights: str

    @property
    def is_model(self) -> bool:
        """Whether the entrant is a model of this project."""
        return bool(self.config)

    @property
    def folder_name(self) -> str:
        """The name as the name of a single folder."""
        return file_name(self.name.replace("/", "-").replace(" ", "_"))


def name_entrants(
    configs: Iterable[str], weights: Iterable[str], predictions: Iterable[tuple[str, str]]
) -> list[Entrant]:
    """Creates the entrants. Models are named after the path of their config; if two models have the
    same config, the name of the weights file is added.

    Args:
        configs, weights: config and weights of each model.
        predictions: name and folder of label images of each other tool.

    Raises:
        UsageError: unequal numbers of configs and weights, or two entrants with the same name.
    """
    configs, weights = list(configs), list(weights)
    if len(configs) != len(weights):
        raise UsageError(
            f"{len(configs)} configs and {len(weights)} weights, expected one weights file per "
            "config"
        )
    names = [_model_name(Path(config)) for config in configs]
    models = [
        Entrant(name if names.count(name) == 1 else f"{name} {Path(file).stem}", config, file)
        for name, config, file in zip(names, configs, weights, strict=True)
    ]
    entrants = [*models, *(Entrant(name, "", folder) for name, folder in predictions)]
    folders = [entrant.folder_name for entrant in entrants]
    duplicates = sorted({e.name for e in entrants if folders.count(e.folder_name) > 1})
    if duplicates:
        raise UsageError(
            f"two entries are named {duplicates[0]!r}, expected different names; change a NAME of "
            "--predictions NAME=DIR, or the file name of a model's weights"
        )
    return entrants


def _model_name(config: Path) -> str:
    """Returns the last two parts of the path of a config, without its extension.

    Training writes `config.yaml` into the folder of each model; such a config is named after its
    folder.
    """
    is_of_run = config.name == "config.yaml"
    path = config.absolute().parent if is_of_run else config.with_suffix("")
    return "/".join(path.parts[-2:])


def training_datasets(entrant: Entrant) -> tuple[str, ...]:
    """Returns the names of the datasets that an entrant was trained on, as far as they are known.

    They are read from `cost.json` of another tool, from the record of packaged weights, from
    `config.yaml` next to the weights, which contains the overrides of the command line, or else
    from the config of the model.
    """
    if not entrant.is_model:
        return tuple(read_cost(entrant.weights).get("trained_on", ()))
    if entrant.weights.startswith("dsb2018://"):
        record = FOLDER / f"{entrant.weights.removeprefix('dsb2018://')}.json"
        return tuple(read_json(record)["trained_on"])
    config_of_run = Path(entrant.weights).parent / "config.yaml"
    config = str(config_of_run) if config_of_run.is_file() else entrant.config
    return tuple(read_config(config).DATASETS.TRAIN)


@dataclass(frozen=True)
class LoadedEntrant:
    """An entrant that is ready to predict.

    Args:
        predict: function from a dataset dict to a prediction.
        parameters: number of the model's parameters; None if it is unknown.
        ranked: whether the nuclei have meaningful confidence scores, which COCO AP needs.
    """

    predict: Callable[[dict], Prediction]
    parameters: int | None
    ranked: bool


def load_entrant(entrant: Entrant) -> LoadedEntrant:
    """Loads a model with its weights, or opens a folder of label images.

    Raises:
        FileNotFoundError: the config, the weights or the folder does not exist.
        ValueError: the weights belong to another model.
    """
    return _load_model(entrant) if entrant.is_model else _open_label_folder(entrant.weights)


def _load_model(entrant: Entrant) -> LoadedEntrant:
    cfg = read_config(entrant.config, ["MODEL.WEIGHTS", entrant.weights])
    model, mapper = load_model(cfg), EvaluationMapper(cfg)
    return LoadedEntrant(lambda item: model([mapper(item)])[0], model.parameter_count, ranked=True)


def _open_label_folder(folder: str) -> LoadedEntrant:
    if not Path(folder).is_dir():
        raise FileNotFoundError(f"{folder}: no such folder of label images")

    def predict(item: dict) -> Prediction:
        size = item["height"], item["width"]
        return labels_to_prediction(read_labels(folder, image_file_name(item), size))

    return LoadedEntrant(predict, read_cost(folder).get("parameters"), ranked=False)


def read_labels(folder: str, name: str, size: tuple[int, int]) -> np.ndarray:
    """Reads the label image `<name>.tif`, `.tiff`, `.png` or `.npy` of a folder.

    Args:
        folder: folder of label images.
        name: file name without its extension.
        size: expected height and width, pixels.

    Returns:
        (H, W) int32, 0 is background, each nucleus has its own positive number.

    Raises:
        FileNotFoundError: the folder has no such file.
        ValueError: the file is not a label image of this size.
    """
    paths = [Path(folder) / f"{name}{suffix}" for suffix in LABEL_SUFFIXES]
    path = next((path for path in paths if path.exists()), None)
    if path is None:
        raise FileNotFoundError(
            f"{folder}: no label image for {name}, expected {name} with the extension "
            f"{', '.join(LABEL_SUFFIXES)}"
        )
    image = open_plane(path)
    # The size is checked before the pixels are read, since a wrong file may be huge.
    labels = image.read(0, 0, *size).squeeze(-1) if image.array.shape == size else image.array
    is_integer = np.issubdtype(labels.dtype, np.integer)
    if labels.shape != size or not is_integer or labels.min(initial=0) < 0:
        raise ValueError(
            f"{path}: {labels.dtype} array of shape {labels.shape}, expected integers of shape "
            f"{size}, 0 for the background and a positive number for each nucleus"
        )
    unique = np.unique(labels)
    largest = np.iinfo(np.int32).max
    if unique.size * labels.size > MAX_MASK_PIXELS or unique.max(initial=0) > largest:
        raise ValueError(
            f"{path}: {unique.size} different values up to {unique.max()}, expected one number per "
            f"nucleus, up to {largest}; check that this is a label image"
        )
    return labels.astype(np.int32)


def read_cost(folder: str) -> dict:
    """Reads `cost.json` of a folder of label images; returns {} if there is no such file.

    Returns:
        Any of seconds_per_image, parameters, peak_memory (bytes), trained_on (names of datasets).

    Raises:
        ValueError: the file is not a JSON object, or trained_on is not a list.
    """
    path = Path(folder) / COST_FILE
    if not path.exists():
        return {}
    cost = read_json(path)
    if not isinstance(cost, dict) or not isinstance(cost.get("trained_on", []), list):
        raise ValueError(
            f"{path}: expected a JSON object whose `trained_on`, if present, is a list of dataset "
            "names"
        )
    return cost


def labels_to_prediction(labels: np.ndarray) -> Prediction:
    """Converts a label image to a prediction in which each nucleus has the score 1.

    Args:
        labels: (H, W) integers, 0 is background. The numbers need not be consecutive.
    """
    _, ranks = np.unique(np.append(labels, 0), return_inverse=True)  # so that 0 stays 0
    dense = ranks[:-1].reshape(labels.shape).astype(np.int32)
    nuclei = Nuclei.from_labels(dense)
    return Prediction(nuclei, nuclei, dense > 0)
