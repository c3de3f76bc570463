"""The Python interface of a trained model."""

import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from functools import cached_property, partial
from itertools import groupby
from pathlib import Path

import numpy as np
import torch
from detectron2.utils.file_io import PathManager

from dsb2018.checkpoint import FOLDER, find_weights
from dsb2018.config import read_config
from dsb2018.data import Preprocessing
from dsb2018.errors import UsageError
from dsb2018.inference.tiling.stitching import Tiling, WindowReader, find_in_tiles
from dsb2018.inference.tiling.windows import choose_windows, window_reader
from dsb2018.io.files import sha256
from dsb2018.modeling import load_model
from dsb2018.modeling.trained import bring_to_scale
from dsb2018.structures.nuclei import Nuclei, Prediction

DEFAULT = "nuclei"  # name of packaged weights
BATCH = 8  # maximum batch size, images


class Predictor:
    """Segments the nuclei of microscopy images.

        from dsb2018 import Predictor
        nuclei = Predictor()(image)          # image: (H, W) or (H, W, 3), any dtype
        nuclei.labels                        # (H, W) int32, 0 is background

    Large images are processed in tiles, see `Tiling`.
    """

    def __init__(
        self,
        config_file: str | Path | None = None,
        weights: str | Path | None = None,
        *,
        options: Sequence = (),
        backend: str = "torch",
        tiling: Tiling | None = None,
        diameter: float | None = None,
    ):
        """
        Args:
            config_file: config of the model; None: the light U-Net of the package.
            weights: file or address, as for `MODEL.WEIGHTS`; None: the weights in the config's
                OUTPUT_DIR, or else the packaged weights of the config. The backend "onnxruntime"
                takes a file that `tools/export_model.py` wrote.
            options: KEY, VALUE, … that override the config, such as `MODEL.DEVICE`, `cuda`.
            backend: "torch" or "onnxruntime".
            tiling: size and overlap of tiles; None: 1024 and 96 pixels.
            diameter: of the nuclei in the images, pixels; None: it is estimated for each image.

        Raises:
            FileNotFoundError: the config or the weights do not exist.
            UsageError: the backend is unknown, or the model does not use the diameter.
            ValueError: the weights belong to another model.
        """
        if weights is not None:
            options = [*options, "MODEL.WEIGHTS", str(weights)]
        config, weights = find_model(None if config_file is None else str(config_file), options)
        if backend not in BACKENDS:
            raise UsageError(f"backend {backend!r}, expected one of {', '.join(BACKENDS)}")
        self._cfg = read_config(config, [*options, "MODEL.WEIGHTS", weights])
        self.preprocess = Preprocessing(self._cfg)
        self.tiling = _fit_zoom(tiling or Tiling(), self._cfg)
        self._model = BACKENDS[backend](self._cfg)
        self.is_scaled = self._cfg.INPUT.DIAMETER > 0
        if diameter is not None and not self.is_scaled:
            raise UsageError(
                f"diameter {diameter:g}: this model does not use the diameter; its config has no "
                "INPUT.DIAMETER"
            )
        self._zoom = self._model.zoom_for(diameter) if diameter else None
        self._threads = torch.get_num_threads()

    def __call__(self, image: np.ndarray) -> Nuclei:
        """Segments one image.

        Args:
            image: (H, W), (H, W, 1), (H, W, 3), or (H, W, 4) with alpha, which is ignored; any
                real dtype.

        Raises:
            ValueError: the image is empty or has another shape, or its pixels are NaN or infinite.
        """
        return self.batch([image])[0]

    def batch(self, images: Iterable[np.ndarray]) -> list[Nuclei]:
        """Segments several images, see `__call__`.

        Consecutive images of the same size are processed as a batch, which is faster on a GPU.
        """
        return self.find([self.prepare(image) for image in images])

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of the config and the weights."""
        weights = sha256(PathManager.get_local_path(self._cfg.MODEL.WEIGHTS))
        return hashlib.sha256((self._cfg.dump() + weights).encode()).hexdigest()

    @property
    def model(self) -> torch.nn.Module:
        """The network. Only the backend "torch" has it."""
        return self._model.model

    def prepare(self, image: np.ndarray) -> np.ndarray:
        """Converts an image to the model's input: (H, W, 3) uint8 RGB, with stretched contrast.

        Raises:
            ValueError: see `__call__`.
        """
        image = np.asarray(image)
        if image.ndim == 2:
            image = image[..., None]
        if image.ndim != 3 or image.shape[2] not in (1, 3, 4) or not image.size:
            raise ValueError(
                f"an image of shape {image.shape}, expected (H, W), (H, W, 1), (H, W, 3) or "
                "(H, W, 4) with at least one pixel"
            )
        return self.preprocess(image[..., :3])

    def use_threads(self, *, all_but: int = 0) -> None:
        """Sets the number of torch threads to the default number minus `all_but`, at least one."""
        torch.set_num_threads(max(1, self._threads - all_but))

    def find(self, images: Sequence[np.ndarray], zoom: float | None = None) -> list[Nuclei]:
        """Segments images that `prepare` returned.

        Args:
            images: (H, W, 3) uint8 RGB.
            zoom: see `find_zoom`; None: that of each image.
        """
        if self.is_scaled:
            return [self._find_scaled(image, zoom or self._zoom) for image in images]
        nuclei: list[Nuclei] = []
        for shape, group in groupby(images, key=lambda image: image.shape):
            same_size = list(group)
            if max(shape[:2]) > self.tiling.whole:
                nuclei += [self._find_in_tiles(image, 1.0) for image in same_size]
                continue
            for start in range(0, len(same_size), BATCH):
                nuclei += self.find_whole(same_size[start : start + BATCH])
        return nuclei

    def _find_scaled(self, image: np.ndarray, zoom: float | None) -> Nuclei:
        """Segments an image with a model that processes nuclei of one diameter."""
        size = image.shape[:2]
        if zoom is None and max(size) <= self.tiling.whole:
            zoom, predictions = self._model.search(self._inputs([image]))
            if predictions:
                return predictions[0].nuclei
        zoom = zoom or self.find_zoom(window_reader(image), size)
        if max(size) > self.tiling.at(zoom).whole:
            return self._find_in_tiles(image, zoom)
        return self.find_whole([image], zoom)[0]

    def find_zoom(self, read: WindowReader, size: tuple[int, int]) -> float:
        """Returns the zoom at which the model processes a large image.

        Args:
            read: reads a window of the image as `prepare` returns it.
            size: (H, W) of the image, pixels.
        """
        if not self.is_scaled:
            return 1.0
        return self._zoom or self._model.search(self._inputs(choose_windows(read, size)))[0]

    def _inputs(self, images: Sequence[np.ndarray], **options) -> list[dict]:
        return [{**self.preprocess.model_input(image), **options} for image in images]

    def _find_in_tiles(self, image: np.ndarray, zoom: float) -> Nuclei:
        find = partial(self.find_whole, zoom=zoom)
        return find_in_tiles(window_reader(image), image.shape[:2], find, self.tiling.at(zoom))

    def find_whole(self, images: Sequence[np.ndarray], zoom: float = 1.0) -> list[Nuclei]:
        """Segments images of the same size that `prepare` returned, without tiles.

        Args:
            images: (H, W, 3) uint8 RGB.
            zoom: see `find_zoom`; other models ignore it.
        """
        options = {"zoom": zoom} if self.is_scaled else {}
        return [prediction.nuclei for prediction in self._model(self._inputs(images, **options))]


def _load_onnx_model(cfg) -> Callable[[list[dict]], list[Prediction]]:
    from dsb2018.modeling.onnx_model import OnnxModel  # requires onnxruntime, which is optional

    return bring_to_scale(cfg, OnnxModel(cfg))


# {name: function that loads the model of a config}. A model maps a batch of inputs to predictions.
BACKENDS: dict[str, Callable] = {"torch": load_model, "onnxruntime": _load_onnx_model}


def find_model(config_file: str | None, options: Sequence = ()) -> tuple[str, str]:
    """Returns the config and the weights of a model.

    Args:
        config_file: config of the model; None: the light U-Net of the package.
        options: KEY, VALUE, … that override the config. If they contain no `MODEL.WEIGHTS`, the
            weights are those that `find_weights` returns for the config, or those of the light
            U-Net.

    Raises:
        FileNotFoundError: the config does not exist, or has no weights.
    """
    weights = dict(zip(options[::2], options[1::2], strict=False)).get("MODEL.WEIGHTS")
    if config_file is None:
        return str(FOLDER / f"{DEFAULT}.yaml"), weights or f"dsb2018://{DEFAULT}"
    if not Path(config_file).is_file():
        raise FileNotFoundError(f"{config_file}: no such config file")
    weights = weights or find_weights(config_file)
    if not weights:
        raise FileNotFoundError(
            f"{config_file}: no weights in its OUTPUT_DIR or in this package; train the model, or "
            "pass --weights"
        )
    return config_file, weights


def _fit_zoom(tiling: Tiling, cfg) -> Tiling:
    """Reduces the size of tiles so that all of them get the full zoom of the config.

    `INPUT.MAX_SIZE_TEST` would otherwise limit the zoom of full-size tiles, but not of the smaller
    tiles at the border of the image.
    """
    limit = int(cfg.INPUT.MAX_SIZE_TEST / cfg.INPUT.ZOOM_TEST)
    if cfg.INPUT.ZOOM_TEST == 1:
        return tiling
    return replace(tiling, edge=min(tiling.edge, limit), whole=min(tiling.whole, limit))
