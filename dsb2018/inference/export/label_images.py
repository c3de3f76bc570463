"""Label images as TIFF: 0 is background, k is the k-th nucleus.

Fiji, napari and QuPath open these files.
"""

from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import tifffile

from dsb2018.images.microscopy_image import MicroscopyImage
from dsb2018.inference.export.base import Exporter, ExportJob, StackJob, register_exporter
from dsb2018.inference.measurements import Columns
from dsb2018.io.files import replacing
from dsb2018.structures.labels import label_type
from dsb2018.structures.nuclei import Nuclei

TILE = 512  # edge of a tile of large images, pixels


class LabelExporter(Exporter):
    """Writes `labels/<image>.tif`; for a stack, one file with all slices."""

    name = "labels"
    ending = ""  # of the file names

    def write(self, job: ExportJob, columns: Columns) -> None:
        """See `Exporter.write`."""
        if job.slice_number is None:
            write_labels(self._path(job.output, job.name), job.nuclei, job.image)

    def write_stack(self, job: StackJob) -> None:
        """See `Exporter.write_stack`."""
        write_volume(self._path(job.output, job.name), job.slices, job.count, job.image)

    def outputs(self, output: Path, record: dict) -> list[Path]:
        """See `Exporter.outputs`."""
        images = [row["image"] for row in record["images"] if "slice" not in row]
        return [self._path(output, name) for name in (*images, *record["stacks"])]

    def _path(self, output: Path, name: str) -> Path:
        return output / self.name / f"{name}{self.ending}.tif"


class CellposeExporter(LabelExporter):
    """Writes `cellpose/<image>_masks.tif`, the names that Cellpose expects beside its images."""

    name = "cellpose"
    ending = "_masks"


register_exporter(LabelExporter())
register_exporter(CellposeExporter())


def write_labels(path: Path, nuclei: Nuclei, image: MicroscopyImage) -> None:
    """Writes the label image of a 2-D image.

    The file has 16 bits, or 32 bits for more than 65,535 nuclei. Large files are tiled, so that
    viewers can read parts of them.
    """
    dtype = label_type(len(nuclei))
    height, width = nuclei.size
    if max(height, width) <= 2 * TILE:
        _write(path, image, nuclei.labels.astype(dtype))
        return
    tiles = _tiles(nuclei, dtype)
    _write(path, image, tiles, shape=nuclei.size, dtype=dtype, tile=(TILE, TILE))


def write_volume(
    path: Path, slices: Iterable[tuple[Nuclei, np.ndarray]], count: int, image: MicroscopyImage
) -> None:
    """Writes the label image of a stack.

    Args:
        path: output file.
        slices: the nuclei of each slice, and the (N,) labels of their 3-D nuclei, from 1.
        count: number of 3-D nuclei.
        image: the stack.
    """
    dtype = label_type(count)
    options = {"shape": (image.depth, *image.size), "metadata": {"axes": "ZYX"}, "dtype": dtype}
    # Each table maps the labels of a slice to the labels of the 3-D nuclei.
    tables = ((nuclei, np.concatenate([[0], labels]).astype(dtype)) for nuclei, labels in slices)
    if max(image.size) <= 2 * TILE:
        _write(path, image, (table[nuclei.labels] for nuclei, table in tables), **options)
        return
    tiles = (table[tile] for nuclei, table in tables for tile in _tiles(nuclei, np.int32))
    _write(path, image, tiles, tile=(TILE, TILE), **options)


def _write(path: Path, image: MicroscopyImage, data, **options) -> None:
    if image.pixel_size:
        y, x = image.pixel_size
        options |= {"resolution": (1e4 / x, 1e4 / y), "resolutionunit": "CENTIMETER"}
    is_big = np.prod(image.size) * (image.depth or 1) * 4 > 2**31
    with replacing(path) as file, tifffile.TiffWriter(file, bigtiff=bool(is_big)) as writer:
        writer.write(data, compression="zlib", photometric="minisblack", **options)


def _tiles(nuclei: Nuclei, dtype: np.dtype) -> Iterator[np.ndarray]:
    """Iterates over tiles of the label image, row by row. Tiles are padded with background."""
    height, width = nuclei.size
    for y in range(0, height, TILE):
        for x in range(0, width, TILE):
            yield nuclei.window(y, x, TILE, TILE).astype(dtype)
