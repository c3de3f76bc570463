"""A trained model as one object: an image in, its nuclei out."""

import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from functools import cached_property
from itertools import groupby
from pathlib import Path

import numpy as np
import torch
from detectron2.utils.file_io import PathManager

from dsb2018.checkpoint import FOLDER, find_weights
from dsb2018.config import read_config
from dsb2018.data import Preprocessing
from dsb2018.errors import UsageError
from dsb2018.inference.tiling.stitching import Tiling, find_in_tiles
from dsb2018.io.files import sha256
from dsb2018.modeling import load_model
from dsb2018.structures.nuclei import Nuclei, Prediction

DEFAULT = "unet_light"  # name of packaged weights
BATCH = 8  # images that the network gets at once, at most


class Predictor:
    """Finds nuclei in images of any microscope.

        from dsb2018 import Predictor
        nuclei = Predictor()(image)          # image: (H, W) or (H, W, 3), any dtype
        nuclei.labels                        # (H, W) int32, 0 is background

    Images that are larger than a tile are computed tile by tile; each nucleus is found whole.
    """

    def __init__(
        self,
        config_file: str | Path | None = None,
        weights: str | Path | None = None,
        *,
        options: Sequence = (),
        backend: str = "torch",
        tiling: Tiling | None = None,
    ):
        """
        Args:
            config_file: of the model; None: the light U-Net that comes with the package.
            weights: as `MODEL.WEIGHTS`; None: those in the config's OUTPUT_DIR, or the package's.
                With the backend "onnxruntime" a file of `tools/export_model.py`.
            options: KEY, VALUE, … that override the config, as `MODEL.DEVICE`, `cuda`.
            backend: "torch" or "onnxruntime".
            tiling: size and overlap of tiles; None: 1024 and 96 pixels.

        Raises:
            FileNotFoundError: no such config or weights.
            UsageError: another backend.
            ValueError: weights of another model.
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
        self._threads = torch.get_num_threads()

    def __call__(self, image: np.ndarray) -> Nuclei:
        """The nuclei of an image.

        Args:
            image: (H, W), (H, W, 1), (H, W, 3) or with alpha (H, W, 4), of any real dtype.

        Raises:
            ValueError: another shape, an empty image, or NaN pixels.
        """
        return self.batch([image])[0]

    def batch(self, images: Iterable[np.ndarray]) -> list[Nuclei]:
        """The nuclei of several images, each as `__call__` takes it. The network gets neighbours of
        one size together, which is faster on a GPU."""
        return self.find([self.prepare(image) for image in images])

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of config and weights."""
        weights = sha256(PathManager.get_local_path(self._cfg.MODEL.WEIGHTS))
        return hashlib.sha256((self._cfg.dump() + weights).encode()).hexdigest()

    @property
    def model(self) -> torch.nn.Module:
        """The network, of the backend "torch"."""
        return self._model.model

    def prepare(self, image: np.ndarray) -> np.ndarray:
        """An image as the model expects it: (H, W, 3) uint8 RGB, its contrast stretched.

        Raises:
            ValueError: see `__call__`.
        """
        image = np.asarray(image)
        if image.ndim == 2:
            image = image[..., None]
        if image.ndim != 3 or image.shape[2] not in (1, 3, 4) or not image.size:
            raise ValueError(f"an image of shape {image.shape}, expected (H, W), (H, W, 1 or 3)")
        return self.preprocess(image[..., :3])

    def use_threads(self, *, all_but: int = 0) -> None:
        """Computes with all threads that torch has, except for so many; at least one."""
        torch.set_num_threads(max(1, self._threads - all_but))

    def find(self, images: Sequence[np.ndarray]) -> list[Nuclei]:
        """The nuclei of images that `prepare` returned."""
        nuclei: list[Nuclei] = []
        for shape, group in groupby(images, key=lambda image: image.shape):
            same_size = list(group)
            if max(shape[:2]) > self.tiling.whole:
                nuclei += [self._find_in_tiles(image) for image in same_size]
                continue
            for start in range(0, len(same_size), BATCH):
                nuclei += self.find_whole(same_size[start : start + BATCH])
        return nuclei

    def _find_in_tiles(self, image: np.ndarray) -> Nuclei:
        def read(y: int, x: int, height: int, width: int) -> np.ndarray:
            return image[y : y + height, x : x + width]

        return find_in_tiles(read, image.shape[:2], self.find_whole, self.tiling)

    def find_whole(self, images: Sequence[np.ndarray]) -> list[Nuclei]:
        """The nuclei of images of one size that `prepare` returned, without tiles."""
        inputs = [self.preprocess.model_input(image) for image in images]
        return [prediction.nuclei for prediction in self._model(inputs)]


def _load_onnx_model(cfg) -> Callable[[list[dict]], list[Prediction]]:
    from dsb2018.modeling.onnx_model import OnnxModel  # needs an extra of this package

    return OnnxModel(cfg)


# name → from a config to a model: a function from a batch of inputs to predictions
BACKENDS = {"torch": load_model, "onnxruntime": _load_onnx_model}


def find_model(config_file: str | None, options: Sequence = ()) -> tuple[str, str]:
    """Config and weights of a model: the package's own without a config; else `MODEL.WEIGHTS` of
    the options, or the weights that `find_weights` finds.

    Raises:
        FileNotFoundError: no such config, or no weights for it.
    """
    weights = dict(zip(options[::2], options[1::2], strict=False)).get("MODEL.WEIGHTS")
    if config_file is None:
        return str(FOLDER / f"{DEFAULT}.yaml"), weights or f"dsb2018://{DEFAULT}"
    if not Path(config_file).is_file():
        raise FileNotFoundError(f"{config_file}: no such config file")
    weights = weights or find_weights(config_file)
    if not weights:
        raise FileNotFoundError(
            f"{config_file}: no weights in its OUTPUT_DIR or in this package; train it, or pass "
            "--weights"
        )
    return config_file, weights


def _fit_zoom(tiling: Tiling, cfg) -> Tiling:
    """Tiles that are no larger than what the config can zoom. Otherwise tiles at the image border,
    which are smaller, would be zoomed more than those inside."""
    limit = int(cfg.INPUT.MAX_SIZE_TEST / cfg.INPUT.ZOOM_TEST)
    if cfg.INPUT.ZOOM_TEST == 1:
        return tiling
    return replace(tiling, edge=min(tiling.edge, limit), whole=min(tiling.whole, limit))
