"""Label images as OME-Zarr 0.4, which napari, QuPath and others read in parts.

Each block of a large image writes its own chunks, so that many processes write one label image.
"""

from collections.abc import Iterable
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from dsb2018.images.microscopy_image import MicroscopyImage
from dsb2018.inference.export.base import (
    BlockExporter,
    Encoded,
    ExportJob,
    StackJob,
    register_exporter,
)
from dsb2018.inference.measurements import Columns
from dsb2018.inference.tiling.blocks import EDGE
from dsb2018.io.files import MARK, make_empty_folder
from dsb2018.structures.labels import label_type

if TYPE_CHECKING:  # takes half a second, and only this format needs it
    import zarr

CHUNK = 512  # edge of a chunk, pixels
SMALLEST = 1024  # the pyramid ends with a level whose edges are at most this, pixels
# Levels that blocks write. In the next one, two blocks would share a chunk.
OF_BLOCKS = (EDGE // CHUNK).bit_length()


class ZarrLabelExporter(BlockExporter):
    """Writes `zarr/<image>.ome.zarr`, with all slices of a stack in one."""

    name = "zarr"

    def begin(self, job: ExportJob) -> None:
        """See `BlockExporter.begin`."""
        if job.slice_number is None:
            create_levels(self._path(job.output, job.name), job.image, len(job.nuclei))

    def encode(self, job: ExportJob, columns: Columns) -> Encoded:
        """See `BlockExporter.encode`. The chunks are written here, so nothing needs to be kept."""
        if job.slice_number is None:
            y, x, height, width = job.window
            write_labels_at(
                _open_levels(self._path(job.output, job.name))[:OF_BLOCKS],
                job.labels(y, x, height, width),
                (y, x),
            )
        return {}

    def assemble(self, job: ExportJob, blocks: Iterable[Encoded]) -> None:
        """See `BlockExporter.assemble`."""
        if job.slice_number is None:
            _shrink_levels(_open_levels(self._path(job.output, job.name))[OF_BLOCKS - 1 :])

    def write_stack(self, job: StackJob) -> None:
        """See `Exporter.write_stack`."""
        path = self._path(job.output, job.name)
        create_levels(path, job.image, job.count)
        levels = _open_levels(path)
        for z, (nuclei, labels) in enumerate(job.slices):
            table = np.concatenate([[0], labels])
            write_labels_at(levels, table[nuclei.labels], (z, 0, 0))

    def outputs(self, output: Path, record: dict) -> list[Path]:
        """See `Exporter.outputs`."""
        images = [row["image"] for row in record["images"] if "slice" not in row]
        return [self._path(output, name) / ".zattrs" for name in (*images, *record["stacks"])]

    def _path(self, output: Path, name: str) -> Path:
        return output / self.name / f"{name}.ome.zarr"


register_exporter(ZarrLabelExporter())


def create_levels(path: Path, image: MicroscopyImage, count: int) -> None:
    """Creates the pyramid of a label image, without pixels.

    Args:
        path: a folder, whose previous content is deleted.
        image: the image or stack.
        count: number of nuclei.
    """
    import zarr

    # A mark in the group itself would not be a part of a Zarr hierarchy.
    make_empty_folder(path, mark=path.parent / MARK)
    group = zarr.open_group(path, mode="a", zarr_format=2)
    depth = () if image.depth is None else (image.depth,)
    y, x = image.pixel_size or (1.0, 1.0)
    z = () if image.depth is None else (image.slice_distance or 1.0,)
    datasets = []
    height, width = image.size
    while not datasets or max(height, width) > SMALLEST:
        level = len(datasets)
        if datasets:
            height, width = -(-height // 2), -(-width // 2)
        group.create_array(
            str(level),
            shape=(*depth, height, width),
            chunks=(*(1 for _ in depth), CHUNK, CHUNK),
            dtype=label_type(count),
            chunk_key_encoding={"name": "v2", "separator": "/"},
        )
        scale = [*z, y * 2**level, x * 2**level]
        datasets.append(
            {
                "path": str(level),
                "coordinateTransformations": [{"type": "scale", "scale": scale}],
            }
        )
    axes = [{"name": name, "type": "space"} for name in ("zyx" if depth else "yx")]
    if image.pixel_size:
        for axis in axes:
            axis["unit"] = "micrometer"
    group.attrs.update(
        {
            "multiscales": [
                {"version": "0.4", "name": path.name, "axes": axes, "datasets": datasets}
            ],
            "image-label": {"version": "0.4"},
        }
    )


def _open_levels(path: Path) -> list["zarr.Array"]:
    import zarr

    group = zarr.open_group(path, mode="r+", zarr_format=2)
    return [group[dataset["path"]] for dataset in group.attrs["multiscales"][0]["datasets"]]


def write_labels_at(
    levels: list["zarr.Array"], labels: np.ndarray, corner: tuple[int, ...]
) -> None:
    """Writes a part of a label image to levels of a pyramid.

    Args:
        levels: from the largest; each has half the height and width of the one before.
        labels: (h, w) integers.
        corner: (y, x), or (z, y, x), of the first pixel; y and x are multiples of the chunks of all
            levels.
    """
    *z, y, x = corner
    for level, array in enumerate(levels):
        part = labels[:: 2**level, :: 2**level]
        top, left = y >> level, x >> level
        place = slice(top, top + part.shape[0]), slice(left, left + part.shape[1])
        array[(*z, *place)] = part.astype(array.dtype)


def _shrink_levels(levels: list["zarr.Array"]) -> None:
    """Computes all levels but the first from the one before."""
    for larger, smaller in pairwise(levels):
        for top in range(0, smaller.shape[0], CHUNK):
            rows = larger[2 * top : 2 * (top + CHUNK)]
            smaller[top : top + CHUNK] = rows[::2, ::2]
