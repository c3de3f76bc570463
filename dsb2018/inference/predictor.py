"""The Python interface of a trained model."""

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from itertools import groupby
from typing import Any

import numpy as np

from dsb2018.errors import UsageError
from dsb2018.images.false_color import only_stain
from dsb2018.inference.adjustable import (
    AdjustableNuclei,
    StoredDetections,
    StoredMaps,
    StoredOutput,
)
from dsb2018.inference.model_files import open_model
from dsb2018.inference.tiling.stitching import find_in_tiles
from dsb2018.inference.tiling.tiles import Tile, Tiling, WindowReader, divide
from dsb2018.inference.tiling.windows import choose_windows, window_reader
from dsb2018.runtime.model_spec import ModelSpec
from dsb2018.runtime.preprocessing import Preprocessing
from dsb2018.structures.nuclei import Nuclei

SMALLEST_DIAMETER, LARGEST_DIAMETER = 1, 10_000  # pixels
BATCH = 8  # maximum batch size, images


class Predictor:
    """Segments the nuclei of microscopy images::

        from dsb2018 import Predictor
        nuclei = Predictor()(image)          # image: (H, W) or (H, W, 3), any dtype
        nuclei.labels                        # (H, W) int32, 0 is background

    Large images are processed in tiles, see `Tiling`.
    """

    def __init__(
        self,
        model: str | os.PathLike | None = None,
        weights: str | os.PathLike | None = None,
        *,
        options: Sequence = (),
        backend: str = "auto",
        tiling: Tiling | None = None,
        diameter: float | None = None,
        threshold: float | None = None,
    ):
        """
        Args:
            model, weights, options, backend: see `open_model`; by default the packaged U-Net
                `nuclei`, in ONNX Runtime.
            tiling: size and overlap of tiles; None: 1024 and 96 pixels.
            diameter: of the nuclei in the images, pixels; None: it is estimated for each image.
            threshold: minimum probability of a nucleus, 0 to 1; None: that of the model.

        Raises:
            FileNotFoundError: the model or its weights do not exist.
            ImportError: the model needs torch or Detectron2, which is not installed.
            UsageError: the model or the backend is unknown, a number is out of range, or the model
                does not use the diameter.
            ValueError: the weights belong to another model.
        """
        if threshold is not None and not 0 <= threshold <= 1:
            raise UsageError(f"threshold {threshold:g}, expected 0 to 1")
        if diameter is not None and not SMALLEST_DIAMETER <= diameter <= LARGEST_DIAMETER:
            raise UsageError(
                f"diameter {diameter:g}, expected {SMALLEST_DIAMETER} to {LARGEST_DIAMETER} pixels"
            )
        opened = open_model(model, weights, options=options, backend=backend, threshold=threshold)
        self._model: Any = opened.run
        self._threads, self.fingerprint = opened.threads, opened.fingerprint
        self.spec, self.preprocess = opened.spec, Preprocessing(opened.spec)
        self.tiling = _fit_zoom(tiling or Tiling(), opened.spec)
        self.is_scaled = opened.spec.diameter > 0
        if diameter is not None and not self.is_scaled:
            raise UsageError(
                f"diameter {diameter:g}: this model does not use the diameter; its config has no "
                "INPUT.DIAMETER"
            )
        self._zoom = self._model.zoom_for(diameter) if diameter else None
        self.estimates_diameter = self.is_scaled and self._zoom is None

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

    @property
    def model(self):
        """The network, a torch module. Only the backend "torch" has it."""
        return self._model.model

    @property
    def threshold(self) -> float:
        """Minimum probability of a nucleus, 0 to 1."""
        options = self.spec.instances
        return options.nucleus_thresh if self._model.has_maps else options.score_thresh

    def adjustable(self, image: np.ndarray) -> AdjustableNuclei:
        """Runs the network on an image, so that nuclei can be found with any threshold.

        Args:
            image: see `__call__`.

        Raises:
            ValueError: see `__call__`.
        """
        prepared = self.prepare(image)
        read, size = window_reader(prepared), prepared.shape[:2]
        zoom = self.choose_zoom(read, size)
        tiles = self.tiles(size, zoom)
        return AdjustableNuclei(size, tiles, list(self.outputs(read, tiles, zoom)))

    def choose_zoom(self, read: WindowReader, size: tuple[int, int]) -> float:
        """Returns the zoom at which `__call__` processes an image, see `find_zoom`."""
        if self._zoom is None and self.is_scaled and max(size) <= self.tiling.whole:
            return self._model.search(self._inputs([read(0, 0, *size)]))[0]
        return self.find_zoom(read, size)

    def tiles(self, size: tuple[int, int], zoom: float) -> list[Tile]:
        """Returns the tiles of an image of (H, W) pixels; a single one is the whole image."""
        tiling = self.tiling.at(zoom)
        if max(size) > tiling.whole:
            return divide(*size, tiling)
        return [Tile((0, 0, *size), (0, 0, *size))]

    def outputs(
        self, read: WindowReader, tiles: Sequence[Tile], zoom: float
    ) -> Iterator[StoredOutput]:
        """Runs the network on the tiles of an image.

        Args:
            read: reads a window of the image as `prepare` returns it.
            tiles: see `tiles`.
            zoom: see `choose_zoom`.
        """
        options = {"zoom": zoom} if self.is_scaled else {}
        for tile in tiles:
            inputs = self._inputs([read(*tile.window)], **options)
            if self._model.has_maps:
                (maps,) = self._model.predict_maps(inputs)
                yield StoredMaps(maps, self.spec.instances, tile.window[2:])
            else:
                detections = self._model(inputs)[0].detections
                yield StoredDetections(detections, self.threshold)

    def prepare(self, image: np.ndarray) -> np.ndarray:
        """Converts an image to the model's input: (H, W, 3) uint8 RGB, with stretched contrast.

        Fluorescence of one false color becomes gray, see `only_stain`.

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
        image = image[..., :3]
        stain = only_stain(image) if image.shape[2] == 3 else None
        return self.preprocess(image if stain is None else image[..., [stain]])

    def use_threads(self, *, all_but: int = 0) -> None:
        """Sets the number of threads to the default number minus `all_but`, at least one."""
        self._model.use_threads(max(1, self._threads - all_but))

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


def _fit_zoom(tiling: Tiling, spec: ModelSpec) -> Tiling:
    """Reduces the size of tiles so that all of them get the full zoom of the model.

    The maximum size of an image that is enlarged would otherwise limit the zoom of full-size tiles,
    but not of the smaller tiles at the border of the image.
    """
    limit = int(spec.max_size / spec.zoom)
    if spec.zoom == 1:
        return tiling
    return replace(tiling, edge=min(tiling.edge, limit), whole=min(tiling.whole, limit))
