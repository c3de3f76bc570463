"""Measures and exports a large image block by block."""

from dataclasses import replace

import numpy as np

from dsb2018.inference.export.base import BlockExporter, ExportJob
from dsb2018.inference.export.run_exporters import finish_image
from dsb2018.inference.export.stored_columns import StoredColumns, columns_name
from dsb2018.inference.measurements import Columns, Part, measure_nuclei
from dsb2018.inference.tiling.array_cache import ArrayCache
from dsb2018.inference.tiling.blocks import blocks_of
from dsb2018.inference.tiling.stored_nuclei import StoredCrops
from dsb2018.structures.nuclei import Nuclei


class BlockExport:
    """The export of a large image. `begin`, `process` of all blocks, and `finish` follow."""

    def __init__(self, job: ExportJob, backgrounds: np.ndarray, cache: ArrayCache):
        """
        Args:
            job: the image; its nuclei are a `StoredNuclei`.
            backgrounds: see `background_levels`.
            cache: keeps the finished blocks.
        """
        self._job, self._backgrounds, self._cache = job, backgrounds, cache
        self._blocks = blocks_of(job.image.size)
        self._formats = [e for e in job.exporters if isinstance(e, BlockExporter)]

    def begin(self) -> None:
        """Prepares the formats, unless an interrupted run did."""

        def prepare() -> dict[str, np.ndarray]:
            for exporter in self._formats:
                exporter.begin(self._job)
            return {}

        self._cache.keep("begun", prepare)

    def process(self, number: int) -> None:
        """Measures the nuclei of a block and encodes them in all formats, unless that was done."""
        nuclei = self._job.nuclei
        crops = nuclei.crops
        assert isinstance(crops, StoredCrops)
        indices = crops.indices(number)

        def measure() -> Columns:
            part = Part(indices, self._backgrounds, crops.neighbour_distances(number))
            return measure_nuclei(nuclei, self._job.image, part)

        name = columns_name(number)
        self._cache.keep(name, measure)
        columns = self._cache.read(name)
        own = slice(indices.start, indices.stop)
        job = replace(
            self._job,
            nuclei=Nuclei(nuclei.size, crops[own], nuclei.scores[own]),
            block=self._blocks.window(number),
            all_nuclei=nuclei,
        )
        for exporter in self._formats:
            self._cache.keep(
                _format_name(number, exporter), lambda e=exporter: e.encode(job, columns)
            )

    def finish(self) -> dict:
        """Writes the files of the image; returns its row of `images.csv`."""
        columns = StoredColumns(self._cache, self._blocks.count)
        for exporter in self._job.exporters:
            if isinstance(exporter, BlockExporter):
                names = (_format_name(n, exporter) for n in range(self._blocks.count))
                exporter.assemble(self._job, (self._cache.read(name) for name in names))
            else:
                exporter.write(self._job, columns)
        return finish_image(self._job, columns)


def _format_name(number: int, exporter: BlockExporter) -> str:
    return f"{number:06d}.format.{exporter.name}"
