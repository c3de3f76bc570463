"""COCO JSON of all images, with scores.

`tools/prepare_dsb2018.py` writes the ground truth in the same form.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import BinaryIO

from dsb2018.inference.export.base import Exporter, ExportJob, register_exporter
from dsb2018.inference.export.parts import reading
from dsb2018.inference.measurements import Columns
from dsb2018.io.files import replacing
from dsb2018.io.names import printable
from dsb2018.structures.masks import encode_crop
from dsb2018.structures.nuclei import Nuclei


class CocoExporter(Exporter):
    """Writes `coco.json`, one file for all images."""

    name = "coco"
    part_suffix = ".coco"

    def write(self, job: ExportJob, columns: Columns) -> None:
        """See `Exporter.write`."""
        write_coco_part(job.part(self), job.name, printable(job.image.path), job.nuclei)

    def join(
        self, output: Path, parts: Sequence[Path], fields: Sequence[Mapping[str, str]]
    ) -> list[Path]:
        """See `Exporter.join`."""
        join_coco(output / "coco.json", parts)
        return [output / "coco.json"]


register_exporter(CocoExporter())


def write_coco_part(path: Path, name: str, file_name: str, nuclei: Nuclei) -> None:
    """Writes the part file of one image: a line of JSON for the image and one for each nucleus.

    `join_coco` adds the ids.

    Args:
        path: the part file.
        name: name of the image's results.
        file_name: path of the image file.
        nuclei: the nuclei of the image.
    """
    height, width = nuclei.size
    image = {"file_name": file_name, "name": name, "height": height, "width": width}
    with replacing(path) as file:
        file.write(json.dumps(image).encode())
        for crop, score in zip(nuclei.crops, nuclei.scores.tolist(), strict=True):
            annotation = {
                "category_id": 1,
                "bbox": crop.box,
                "area": crop.area,
                "iscrowd": 0,
                "score": round(score, 4),
                "segmentation": encode_crop(crop, height, width),
            }
            file.write(b"\n" + json.dumps(annotation).encode())


def join_coco(path: Path, parts: Sequence[Path]) -> None:
    """Joins part files line by line, so memory does not depend on the number of nuclei."""
    with replacing(path) as file:
        file.write(b'{"categories": [{"id": 1, "name": "nucleus"}],\n"images": [')
        for number, part in enumerate(parts, start=1):
            _write_item(file, number, {}, next(_items(part)))
        file.write(b'],\n"annotations": [')
        count = 0
        for number, part in enumerate(parts, start=1):
            for item in islice(_items(part), 1, None):
                count += 1
                _write_item(file, count, {"image_id": number}, item)
        file.write(b"]}\n")


def _items(part: Path) -> Iterator[dict]:
    """Iterates over the lines of a part file: the image, then its nuclei."""
    with reading(part), open(part) as lines:
        yield json.loads(next(lines))
        for line in lines:
            yield json.loads(line)


def _write_item(file: BinaryIO, number: int, ids: dict, content: dict) -> None:
    item = {"id": number, **ids, **content}
    file.write((",\n" if number > 1 else "\n").encode() + json.dumps(item).encode())
