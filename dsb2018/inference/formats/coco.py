"""COCO JSON of all images, with scores: what `tools/prepare_dsb2018.py` writes of truth."""

import json
from collections.abc import Iterable
from pathlib import Path

from dsb2018.files import replacing
from dsb2018.inference.nuclei import Nuclei
from dsb2018.masks import encode_crop


def coco_part(name: str, file_name: str, nuclei: Nuclei) -> str:
    """One image and its annotations, as a line of JSON; ids are given when parts are joined."""
    height, width = nuclei.size
    annotations = [
        {
            "category_id": 1,
            "bbox": crop.box,
            "area": crop.area,
            "iscrowd": 0,
            "score": round(score, 4),
            "segmentation": encode_crop(crop, height, width),
        }
        for crop, score in zip(nuclei.crops, nuclei.scores.tolist(), strict=True)
    ]
    image = {"file_name": file_name, "name": name, "height": height, "width": width}
    return json.dumps({"image": image, "annotations": annotations}) + "\n"


def join_coco(path: Path, parts: Iterable[Path]) -> None:
    """Joins parts, image by image, so that memory does not grow with their number."""
    parts = list(parts)
    with replacing(path) as file:
        file.write(b'{"categories": [{"id": 1, "name": "nucleus"}],\n"images": [')
        for number, each in enumerate(_lines(parts), start=1):
            image = {"id": number, **each["image"]}
            file.write((",\n" if number > 1 else "\n").encode() + json.dumps(image).encode())
        file.write(b'],\n"annotations": [')
        count = 0
        for number, each in enumerate(_lines(parts), start=1):
            for annotation in each["annotations"]:
                count += 1
                line = json.dumps({"id": count, "image_id": number, **annotation})
                file.write((",\n" if count > 1 else "\n").encode() + line.encode())
        file.write(b"]}\n")


def _lines(parts: Iterable[Path]):
    for part in parts:
        with open(part) as file:
            yield from map(json.loads, file)
