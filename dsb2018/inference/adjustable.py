"""Nuclei whose threshold can be changed after the network has run."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import NamedTuple, Protocol

import numpy as np

from dsb2018.inference.tiling.stitching import place_in_image, stitch
from dsb2018.inference.tiling.tiles import Tile
from dsb2018.runtime.postprocess import InstanceOptions, Maps, postprocess
from dsb2018.structures.nuclei import Detections, Nuclei


class StoredOutput(Protocol):
    """The output of a network for one window."""

    def __call__(self, threshold: float | None) -> Nuclei:
        """Returns the nuclei of the window for a threshold; None: that of the model."""


class StoredMaps(NamedTuple):
    """The output of a dense model.

    Args:
        maps: at the scale of the model.
        options: how maps become nuclei.
        size: (H, W) of the window, pixels.
    """

    maps: Maps
    options: InstanceOptions
    size: tuple[int, int]

    def __call__(self, threshold: float | None) -> Nuclei:
        """See `StoredOutput`."""
        options = self.options
        if threshold is not None:
            options = replace(options, nucleus_thresh=threshold)
        return postprocess(self.maps, options, self.size).nuclei

    def on_disk(self, folder: Path) -> "StoredMaps":
        """Returns the same maps as memory maps of files in a folder, which takes no memory."""
        return self._replace(maps=Maps(*(_to_disk(array, folder) for array in self.maps)))


class StoredDetections(NamedTuple):
    """The output of a model that detects nuclei, such as Mask R-CNN.

    Args:
        detections: of any score that the config keeps.
        threshold: of the model, 0 to 1.
    """

    detections: Detections
    threshold: float

    def __call__(self, threshold: float | None) -> Nuclei:
        """See `StoredOutput`."""
        return self.detections.without_overlaps(self.threshold if threshold is None else threshold)


class AdjustableNuclei:
    """The nuclei of one image for any threshold, without running the network again.

        found = predictor.adjustable(image)
        found.nuclei(threshold=0.3)

    See `Predictor.adjustable`.
    """

    def __init__(
        self, size: tuple[int, int], tiles: Sequence[Tile], outputs: Sequence[StoredOutput]
    ):
        """
        Args:
            size: (H, W) of the image, pixels.
            tiles: the tiles of the image; a single one is the whole image.
            outputs: of the network for each tile.
        """
        self._size, self._tiles, self._outputs = size, tiles, outputs

    def nuclei(self, threshold: float | None = None) -> Nuclei:
        """Finds the nuclei.

        Args:
            threshold: minimum probability of a nucleus, 0 to 1; None: that of the model. The result
                is that of a `Predictor` with this threshold and the same diameter.
        """
        if len(self._tiles) == 1:
            return self._outputs[0](threshold)
        return stitch(
            self._size,
            (
                place_in_image(tile, output(threshold), self._size)
                for tile, output in zip(self._tiles, self._outputs, strict=True)
            ),
        )


def _to_disk(array: np.ndarray | None, folder: Path) -> np.ndarray | None:
    if array is None:
        return None
    with NamedTemporaryFile(dir=folder, suffix=".npy", delete=False) as file:
        np.save(file, array)
    return np.load(file.name, mmap_mode="r")
