"""A trained model as one object: an image in, its nuclei out."""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import cached_property
from itertools import groupby
from pathlib import Path

import numpy as np
import torch
from detectron2.utils.file_io import PathManager

from dsb2018.config import read_config
from dsb2018.inference.contrast import GreyRange, find_range
from dsb2018.inference.nuclei import Nuclei
from dsb2018.inference.stitching import Tiling, find_in_tiles
from dsb2018.inference.torch_backend import Backend, TorchBackend
from dsb2018.modeling.weights import FOLDER, find_weights

DEFAULT = "unet_light"  # of the package's weights
BATCH = 8  # images that are shown to the network at once, at most


class Predictor:
    """Finds nuclei in images of any microscope.

        from dsb2018 import Predictor
        nuclei = Predictor()(image)          # image: (H, W) or (H, W, 3), any dtype
        nuclei.labels                        # (H, W) int32, 0 is background

    An image that is larger than a tile is taken in tiles, of which each nucleus is taken whole.
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
            ValueError: weights of another model, or another backend.
        """
        named = [] if weights is None else ["MODEL.WEIGHTS", str(weights)]
        options = [*options, *named]
        config, weights = find_model(None if config_file is None else str(config_file), options)
        cfg = read_config(config, options)
        cfg.MODEL.WEIGHTS = weights
        self.tiling = _zoomed(tiling or Tiling(), cfg)
        self._cfg = cfg
        self._backend = _load_backend(cfg, backend)
        self._cores = torch.get_num_threads()

    def __call__(self, image: np.ndarray) -> Nuclei:
        """The nuclei of an image.

        Args:
            image: (H, W), (H, W, 1), (H, W, 3) or with alpha (H, W, 4), of any real dtype.

        Raises:
            ValueError: another shape, an empty image, or NaN pixels.
        """
        return self.batch([image])[0]

    def batch(self, images: Iterable[np.ndarray]) -> list[Nuclei]:
        """The nuclei of several images, each as `__call__` takes it. Neighbours of one size are
        shown to the network together, which is faster on a GPU."""
        return self.find([self.prepare(image) for image in images])

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of config and weights."""
        path = PathManager.get_local_path(self._cfg.MODEL.WEIGHTS)
        with open(path, "rb") as file:
            weights = hashlib.file_digest(file, "sha256").hexdigest()
        return hashlib.sha256((self._cfg.dump() + weights).encode()).hexdigest()

    @property
    def model(self) -> torch.nn.Module:
        """The network, of the backend "torch"."""
        return self._backend.model

    def prepare(self, image: np.ndarray) -> np.ndarray:
        """An image as the model was trained: (H, W, 3) uint8 RGB, its grey values spread."""
        image = np.asarray(image)
        if image.ndim == 2:
            image = image[..., None]
        if image.ndim != 3 or image.shape[2] not in (1, 3, 4) or not image.size:
            raise ValueError(f"an image of shape {image.shape}, expected (H, W), (H, W, 1 or 3)")
        image = image[..., :3]
        return self.spread(image, self.grey_range([image]))

    def grey_range(self, windows: Iterable[np.ndarray]) -> GreyRange:
        """The grey values that become 0 and 255, see `find_range`; as the config says."""
        if self._cfg.INPUT.STRETCH:
            return find_range(windows, self._cfg.INPUT.STRETCH_PERCENT)
        dtype = next(iter(windows)).dtype
        if dtype.kind == "u":
            return GreyRange(0, np.iinfo(dtype).max)
        return find_range(windows, 0.0)

    def use_cores(self, *, all_but: int = 0) -> None:
        """Computes on all cores that torch has, but for so many that others need; at least one."""
        torch.set_num_threads(max(1, self._cores - all_but))

    @staticmethod
    def spread(window: np.ndarray, grey_range: GreyRange) -> np.ndarray:
        """(h, w, 1 or 3) of any dtype → (h, w, 3) uint8 RGB."""
        grey = grey_range.apply(window)
        return np.repeat(grey, 3, axis=2) if grey.shape[2] == 1 else grey

    def find(self, images: Sequence[np.ndarray]) -> list[Nuclei]:
        """The nuclei of images that `prepare` made."""
        found: list[Nuclei] = []
        for shape, same in groupby(images, key=lambda image: image.shape):
            same = list(same)
            if max(shape[:2]) > self.tiling.whole:
                found += [self._find_in_tiles(image) for image in same]
                continue
            for start in range(0, len(same), BATCH):
                found += self.find_whole(same[start : start + BATCH])
        return found

    def _find_in_tiles(self, image: np.ndarray) -> Nuclei:
        def read(y: int, x: int, height: int, width: int) -> np.ndarray:
            return image[y : y + height, x : x + width]

        return find_in_tiles(read, image.shape[:2], self.find_whole, self.tiling)

    def find_whole(self, images: Sequence[np.ndarray]) -> list[Nuclei]:
        """The nuclei of prepared images of one size, without tiles."""
        if self._cfg.INPUT.FORMAT == "BGR":
            images = [image[..., ::-1] for image in images]
        return self._backend.find(images)


def find_model(config_file: str | None, options: Sequence = ()) -> tuple[str, str]:
    """Config and weights of a model: the package's own without a config; else `MODEL.WEIGHTS` of
    the options, or those that `find_weights` finds.

    Raises:
        FileNotFoundError: no such config, or no weights for it.
    """
    named = dict(zip(options[::2], options[1::2], strict=False)).get("MODEL.WEIGHTS")
    if config_file is None:
        return str(FOLDER / f"{DEFAULT}.yaml"), named or f"dsb2018://{DEFAULT}"
    if not Path(config_file).is_file():
        raise FileNotFoundError(f"{config_file}: no such config file")
    weights = named or find_weights(config_file)
    if not weights:
        raise FileNotFoundError(
            f"{config_file}: no weights in its OUTPUT_DIR or the package; train it, or add "
            "MODEL.WEIGHTS and their file"
        )
    return config_file, weights


def _zoomed(tiling: Tiling, cfg) -> Tiling:
    """Tiles no larger than what can be zoomed as the config wants: else those at the border, which
    are smaller, would be seen at another scale than those inside."""
    limit = int(cfg.INPUT.MAX_SIZE_TEST / cfg.INPUT.ZOOM_TEST)
    if cfg.INPUT.ZOOM_TEST == 1:
        return tiling
    return replace(tiling, edge=min(tiling.edge, limit), whole=min(tiling.whole, limit))


def _load_backend(cfg, name: str) -> Backend:
    if name == "torch":
        return TorchBackend(cfg)
    if name == "onnxruntime":
        if cfg.INPUT.ZOOM_TEST != 1:
            raise ValueError("INPUT.ZOOM_TEST: an exported network takes images as they are")
        from dsb2018.inference.onnx_backend import OnnxBackend  # an extra of this package

        return OnnxBackend(cfg)
    raise ValueError(f"backend {name!r}, expected torch or onnxruntime")
