"""The finished image files of a run, which an interrupted run need not process again."""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

from dsb2018.images.microscopy_image import MicroscopyImage
from dsb2018.images.remote import is_remote, remote_state
from dsb2018.inference.export.base import Exporter
from dsb2018.inference.export.run_records import read_part_record, read_record
from dsb2018.inference.prefetch import ImageFile
from dsb2018.inference.tiling.array_cache import delete_caches
from dsb2018.io.files import write_atomically
from dsb2018.io.names import printable
from dsb2018.io.results import RECORDS

REVISION = 8  # increase it if a code change alters the results or their format


class FinishedFiles:
    """Records the finished image files, each in a folder of its own with parts of the tables.

    Args:
        output: output folder of the run.
        exporters: the selected output formats.
        options: everything that the results depend on, except the file and the model.
        model: fingerprint of the model.
    """

    def __init__(
        self, output: Path, exporters: Sequence[Exporter], options: dict[str, str], model: str
    ):
        self._output, self._exporters = output, exporters
        self._options, self._model = options, model
        self.folder = output / RECORDS

    def fingerprint(self, path: Path) -> str:
        """Returns a hash of everything that the results depend on: file, options and model.

        The state of a Zarr store is that of all its files, or of its metadata if it is remote.
        """
        if is_remote(path):
            states = [printable(path), remote_state(path)]
        else:
            files = [path, *(path.rglob("*") if path.is_dir() else ())]
            states = [(printable(f), f.stat().st_size, f.stat().st_mtime_ns) for f in sorted(files)]
        content = json.dumps([REVISION, states, self._options, self._model])
        return hashlib.sha256(content.encode()).hexdigest()

    def record(self, name: str) -> dict | None:
        """Returns the record of a file that this run or an earlier one finished, else None."""
        return read_record(self._path(name))

    def includes(self, file: ImageFile) -> bool:
        """Returns whether a file is finished and all its results exist."""
        record = self.record(file.name)
        is_current = record is not None and record["fingerprint"] == file.fingerprint
        return is_current and self._has_results(file.name, record)

    def row(self, file: ImageFile, image: MicroscopyImage) -> dict | None:
        """Returns the row in `images.csv` of a finished image of an unfinished file, else None."""
        record = read_part_record(self.folder / file.name / f"{image.name}.json")
        return record["row"] if record and record["fingerprint"] == file.fingerprint else None

    def add(self, file: ImageFile, rows: list[dict], stacks: list[str]) -> None:
        """Records a file.

        Args:
            file: the file, whose results are written.
            rows: of `images.csv`.
            stacks: names of the stacks in the file.
        """
        record = {"fingerprint": file.fingerprint, "stacks": stacks, "images": rows}
        write_atomically(self._path(file.name), json.dumps(record) + "\n")
        delete_caches(self.folder / file.name / "tiles")

    def remove(self, name: str) -> None:
        """Deletes the record of a file, if there is one."""
        self._path(name).unlink(missing_ok=True)

    def _path(self, name: str) -> Path:
        return self.folder / name / "record.json"

    def _has_results(self, name: str, record: dict) -> bool:
        """Returns whether all part files and output files of an image file exist."""
        parts = [
            self.folder / name / part
            for exporter in self._exporters
            for part in exporter.part_names(record)
        ]
        outputs = [
            path for exporter in self._exporters for path in exporter.outputs(self._output, record)
        ]
        return all(path.is_file() for path in parts) and all(map(_has_content, outputs))


def _has_content(path: Path) -> bool:
    return path.is_file() and path.stat().st_size > 0
