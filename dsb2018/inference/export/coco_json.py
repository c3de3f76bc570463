"""COCO JSON of all images, with scores: what `tools/prepare_dsb2018.py` writes of truth."""

import json
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import BinaryIO

from dsb2018.inference.export.base import Exporter, ExportJob, register
from dsb2018.inference.export.parts import reading
from dsb2018.inference.measurements import Columns
from dsb2018.io.files import replacing
from dsb2018.io.names import printable
from dsb2018.structures.masks import encode_crop
from dsb2018.structures.nuclei import Nuclei


class CocoExporter(Exporter):
    """`coco.json`, with all images."""

    name = "coco"
    part_suffix = ".coco"

    def write(self, job: ExportJob, columns: Columns) -> None:
        """See `Exporter.write`."""
        write_coco_part(job.part(self), job.name, printable(job.image.path), job.nuclei)

    def join(self, output: Path, parts: Sequence[Path]) -> list[Path]:
        """See `Exporter.join`."""
        join_coco(output / "coco.json", parts)
        return [output / "coco.json"]


register(CocoExporter())


def write_coco_part(path: Path, name: str, file_name: str, nuclei: Nuclei) -> None:
    """A line of JSON for the image and for each nucleus; ids are given when parts are joined."""
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
    """Joins parts line by line, so that memory grows with no number of images or nuclei."""
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
    """The image of a part, then its nuclei."""
    with reading(part), open(part) as lines:
        yield json.loads(next(lines))
        for line in lines:
            yield json.loads(line)


def _write_item(file: BinaryIO, number: int, more: dict, content: dict) -> None:
    item = {"id": number, **more, **content}
    file.write((",\n" if number > 1 else "\n").encode() + json.dumps(item).encode())
