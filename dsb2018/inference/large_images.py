"""Finds the nuclei of images that are processed in tiles, perhaps by several processes."""

from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from dsb2018.images import open_images
from dsb2018.images.microscopy_image import MicroscopyImage, choose_channel
from dsb2018.inference.prefetch import ImageFile
from dsb2018.inference.tiling.cache import CachedTiles, TileCache
from dsb2018.inference.tiling.stitching import WindowReader, divide, find_in_tile, stitch
from dsb2018.progress import progress
from dsb2018.structures.contrast import GreyRange
from dsb2018.structures.nuclei import Nuclei


class TileJob(NamedTuple):
    """A large image whose tiles are processed, perhaps by several processes.

    Args:
        file: the image file.
        image: name of the image in it.
        fixed: {axis: index} that select the 2-D image.
        grey_range: gray values that become 0 and 255.
        zoom: see `Predictor.find_zoom`.
    """

    file: ImageFile
    image: str
    fixed: dict[str, int]
    grey_range: GreyRange
    zoom: float


class LargeImages:
    """Keeps the nuclei of finished tiles on disk, where other processes may put them too."""

    def __init__(
        self,
        predictor: Any,
        done: Path,
        channel: str | None,
        share_tiles: Callable[[TileJob, int], None] | None = None,
    ):
        """
        Args:
            predictor: a `Predictor`.
            done: folder of the records of a run.
            channel: see `choose_channel`.
            share_tiles: lets several processes call `find_tiles` for a job and its number of tiles;
                None: this process alone does.
        """
        self._predictor, self._done, self._channel = predictor, done, channel
        self._share_tiles = share_tiles

    def find(self, job: TileJob, channel: MicroscopyImage) -> Nuclei:
        """Returns the nuclei of an image.

        Args:
            job: the image.
            channel: its nuclear channel, 2-D.
        """
        tiles = self._open_tiles(job, channel)
        # Nuclei that stay in memory would fragment it, because the large arrays of the next tile do
        # not fit between them (2 GB after 200 tiles). They are therefore read from disk at the end.
        if self._share_tiles:
            self._share_tiles(job, len(tiles))
        else:
            for number in progress(range(len(tiles)), "tile", len(tiles)):
                tiles.keep(number)
        return stitch(channel.size, (tiles.read(number) for number in range(len(tiles))))

    def find_tiles(self, job: TileJob, numbers: Iterable[int]) -> None:
        """Finds the nuclei of some tiles, and stores them for `find` in another process."""
        images = open_images(job.file.name, job.file.path)
        image = next(image for image in images if image.name == job.image)
        channel = replace(choose_channel(image, self._channel), fixed=job.fixed)
        tiles = self._open_tiles(job, channel)
        for number in numbers:
            tiles.keep(number)

    def _open_tiles(self, job: TileJob, channel: MicroscopyImage) -> CachedTiles:
        name = "_".join(f"{axis}{index}" for axis, index in sorted(job.fixed.items())) or "all"
        cache = TileCache(self._done / job.file.name / "tiles" / name, job.file.fingerprint)
        read = channel_reader(job.grey_range, channel)
        find_whole = partial(self._predictor.find_whole, zoom=job.zoom)
        find = partial(find_in_tile, read=read, size=channel.size, find=find_whole)
        tiles = divide(*channel.size, self._predictor.tiling.at(job.zoom))
        return CachedTiles(
            [tile for tile in tiles if not channel.is_absent(*tile.window)], find, cache
        )


def channel_reader(grey_range: GreyRange, channel: MicroscopyImage) -> WindowReader:
    """Returns the reader of an image, whose windows are the model's input before the zoom."""

    def read(y: int, x: int, height: int, width: int) -> np.ndarray:
        return grey_range.to_rgb(channel.read(y, x, height, width))

    return read
