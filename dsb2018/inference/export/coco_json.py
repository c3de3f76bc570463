"""COCO JSON of all images, with scores.

`tools/prepare_dsb2018.py` writes the ground truth in the same form.
"""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import BinaryIO

from dsb2018.inference.export.base import ExportJob, TextExporter, register_exporter
from dsb2018.inference.export.parts import reading
from dsb2018.inference.measurements import Columns
from dsb2018.io.files import replacing
from dsb2018.io.names import printable
from dsb2018.structures.masks import encode_crop
from dsb2018.structures.nuclei import Nuclei


class CocoExporter(TextExporter):
    """Writes `coco.json`, one file for all images."""

    name = "coco"
    part_suffix = ".coco"

    def encode_text(self, job: ExportJob, columns: Columns) -> bytes:
        """See `TextExporter`."""
        return encode_annotations(job.nuclei)

    def assemble_text(self, job: ExportJob, blocks: Iterable[bytes]) -> None:
        """See `TextExporter`."""
        file_name = printable(job.image.path)
        write_coco_part(job.part(self), job.name, file_name, job.nuclei.size, blocks)

    def join(
        self, output: Path, parts: Sequence[Path], fields: Sequence[Mapping[str, str]]
    ) -> list[Path]:
        """See `Exporter.join`."""
        join_coco(output / "coco.json", parts)
        return [output / "coco.json"]


register_exporter(CocoExporter())


def encode_annotations(nuclei: Nuclei) -> bytes:
    """Returns a line of JSON for each nucleus. `join_coco` adds the ids."""
    lines = []
    for crop, score in zip(nuclei.crops, nuclei.scores.tolist(), strict=True):
        annotation = {
            "category_id": 1,
            "bbox": crop.box,
            "area": crop.area,
            "iscrowd": 0,
            "score": round(score, 4),
            "segmentation": encode_crop(crop, *nuclei.size),
        }
        lines.append("\n" + json.dumps(annotation))
    return "".join(lines).encode()


def write_coco_part(
    path: Path, name: str, file_name: str, size: tuple[int, int], annotations: Iterable[bytes]
) -> None:
    """Writes the part file of one image: a line of JSON for the image and one for each nucleus.

    Args:
        path: the part file.
        name: name of the image's results.
        file_name: path of the image file.
        size: (H, W) of the image, pixels.
        annotations: the nuclei of each block, see `encode_annotations`.
    """
    image = {"file_name": file_name, "name": name, "height": size[0], "width": size[1]}
    with replacing(path) as file:
        file.write(json.dumps(image).encode())
        file.writelines(annotations)


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
