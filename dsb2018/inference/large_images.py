"""Images that are processed in parts, perhaps by several processes.

The network finds the nuclei of tiles. Then they are merged, measured and exported block by block.
All intermediate results are on disk, where every process finds them.
"""

from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np

from dsb2018.images.microscopy_image import MicroscopyImage
from dsb2018.inference.background import BackgroundSample, background_of, sample_background
from dsb2018.inference.export.base import ExportJob
from dsb2018.inference.export.block_export import BlockExport
from dsb2018.inference.measurements import BLOCK
from dsb2018.inference.prefetch import ImageFile
from dsb2018.inference.selection import Selection
from dsb2018.inference.tiling.array_cache import ArrayCache
from dsb2018.inference.tiling.blocks import blocks_of
from dsb2018.inference.tiling.cache import CachedTiles, TileCache
from dsb2018.inference.tiling.stitching import find_in_tile, in_block, stitch, stitch_around
from dsb2018.inference.tiling.stored_nuclei import (
    StoredNuclei,
    block_name,
    pack_block,
    write_index,
)
from dsb2018.inference.tiling.tiles import WindowReader, divide
from dsb2018.progress import progress
from dsb2018.structures.contrast import GreyRange
from dsb2018.structures.nuclei import Nuclei

FIND, MERGE, MEASURE = "tile", "block to merge", "block to measure"  # the steps, for the progress
BACKGROUND = "background"  # name of the arrays of the image


class LargeImage(NamedTuple):
    """What another process needs to know of an image.

    Args:
        file: the image file.
        image: name of the image in it.
        fixed: {axis: index} that select the nuclear channel of a 2-D image.
        grey_range: gray values that become 0 and 255.
        zoom: see `Predictor.find_zoom`.
        is_part: whether the file has several images.
    """

    file: ImageFile
    image: str
    fixed: dict[str, int]
    grey_range: GreyRange
    zoom: float
    is_part: bool = False


class Share(Protocol):
    """Lets several processes call `LargeImages.work`."""

    def __call__(self, step: str, large: LargeImage, count: int) -> None:
        """Processes the parts 0 to `count` - 1 of an image."""


class LargeImages:
    """The steps of the work on large images."""

    def __init__(
        self,
        predictor: Any,
        done: Path,
        selection: Selection,
        open_job: Callable[[LargeImage], ExportJob],
        share: Share | None = None,
    ):
        """
        Args:
            predictor: a `Predictor`.
            done: folder of the records of a run.
            selection: which nuclei are kept.
            open_job: opens an image, as a job without nuclei.
            share: divides the parts of an image among processes; None: this process alone works.
        """
        self._predictor, self._done, self._selection = predictor, done, selection
        self._open_job, self._share = open_job, share

    def find(self, large: LargeImage, channel: MicroscopyImage) -> Nuclei:
        """Returns the nuclei of a slice of a stack, all in memory.

        Args:
            large: the slice.
            channel: its nuclear channel.
        """
        tiles = self._open_tiles(large, channel)
        self._work_on_all(FIND, large, len(tiles), tiles.keep)
        nuclei = stitch(channel.size, (tiles.read(number) for number in range(len(tiles))))
        return self._selection.apply(nuclei, channel.pixel_size, str(channel.path))

    def export(self, large: LargeImage, job: ExportJob) -> dict:
        """Finds, measures and exports the nuclei of an image.

        Args:
            large: the image.
            job: the same image, without nuclei.

        Returns:
            The image's row of `images.csv`.
        """
        tiles, cache = self._open_tiles(large, job.channel), self._open_cache(large)
        # Nuclei that stay in memory would fragment it, because the large arrays of the next tile do
        # not fit between them (2 GB after 200 tiles). They are therefore read from disk later.
        self._work_on_all(FIND, large, len(tiles), tiles.keep)
        count = blocks_of(job.image.size).count
        self._work_on_all(MERGE, large, count, self._merger(job, tiles, cache))
        write_index(job.image.size, cache)
        cache.keep(BACKGROUND, partial(_find_background, cache, count))
        export = _open_export(job, cache)
        export.begin()
        self._work_on_all(MEASURE, large, count, export.process)
        return export.finish()

    def work(self, step: str, large: LargeImage, numbers: Iterable[int]) -> None:
        """Processes some parts of an image, for `find` or `export` in another process."""
        job = self._open_job(large)
        if step == FIND:
            process = self._open_tiles(large, job.channel).keep
        elif step == MERGE:
            tiles = self._open_tiles(large, job.channel)
            process = self._merger(job, tiles, self._open_cache(large))
        else:
            process = _open_export(job, self._open_cache(large)).process
        for number in numbers:
            process(number)

    def _work_on_all(
        self, step: str, large: LargeImage, count: int, process: Callable[[int], None]
    ) -> None:
        if self._share:
            self._share(step, large, count)
            return
        for number in progress(range(count), step, count):
            process(number)

    def _merger(
        self, job: ExportJob, tiles: CachedTiles, cache: ArrayCache
    ) -> Callable[[int], None]:
        """Returns a function that merges the nuclei of a block, and chooses its background."""
        size = job.image.size

        def merge(number: int) -> dict[str, np.ndarray]:
            nuclei = stitch_around(size, number, tiles.tiles, tiles.read)
            nuclei = self._selection.apply(nuclei, job.channel.pixel_size, str(job.channel.path))
            windows = job.image.windows(BLOCK, blocks_of(size).window(number))
            samples = [
                sample_background(nuclei, pixels, y, x, size)
                for (y, x), pixels in windows.with_positions()
            ]
            stored = pack_block(in_block(nuclei, number))
            if samples:
                stored["background"] = np.concatenate([s.background for s in samples])
                stored["pixels"] = np.concatenate([s.all for s in samples])
            return stored

        return lambda number: cache.keep(block_name(number), partial(merge, number))

    def _open_tiles(self, large: LargeImage, channel: MicroscopyImage) -> CachedTiles:
        cache = TileCache(self._folder(large), large.file.fingerprint)
        read = channel_reader(large.grey_range, channel)
        find_whole = partial(self._predictor.find_whole, zoom=large.zoom)
        find = partial(find_in_tile, read=read, size=channel.size, find=find_whole)
        tiles = divide(*channel.size, self._predictor.tiling.at(large.zoom))
        return CachedTiles(
            [tile for tile in tiles if not channel.is_absent(*tile.window)], find, cache
        )

    def _open_cache(self, large: LargeImage) -> ArrayCache:
        folder = self._folder(large)
        return ArrayCache(folder.with_name(f"{folder.name}_blocks"), large.file.fingerprint)

    def _folder(self, large: LargeImage) -> Path:
        axes = "_".join(f"{axis}{index}" for axis, index in sorted(large.fixed.items())) or "all"
        # Images of one file may have the same axes.
        name = axes if large.image == large.file.name else f"{large.image}_{axes}"
        return self._done / large.file.name / "tiles" / name


def _find_background(cache: ArrayCache, count: int) -> dict[str, np.ndarray]:
    samples = []
    for number in range(count):
        stored = cache.read(block_name(number))
        if "pixels" in stored:
            samples.append(BackgroundSample(stored["background"], stored["pixels"]))
    return {"levels": background_of(samples)}


def _open_export(job: ExportJob, cache: ArrayCache) -> BlockExport:
    job = replace(job, nuclei=StoredNuclei.open(job.image.size, cache))
    return BlockExport(job, cache.read(BACKGROUND)["levels"], cache)


def channel_reader(grey_range: GreyRange, channel: MicroscopyImage) -> WindowReader:
    """Returns the reader of an image, whose windows are the model's input before the zoom."""

    def read(y: int, x: int, height: int, width: int) -> np.ndarray:
        return grey_range.to_rgb(channel.read(y, x, height, width))

    return read
