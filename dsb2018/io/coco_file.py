"""Reads and checks COCO JSON files, which are untrusted input."""

import os
from collections.abc import Mapping
from pathlib import Path

from dsb2018.io.files import read_json
from dsb2018.io.names import is_inside
from dsb2018.io.png import MOST_PIXELS


def read_coco(path: str | os.PathLike, any_file_name: bool = False) -> dict:
    """Reads and checks a COCO JSON file.

    Args:
        path: the file.
        any_file_name: whether file names may lead out of their folder. They must then not be
            opened.

    Returns:
        The dict with `images` and `annotations`. `info` and `categories` are added if they are
        missing. Image ids are unique, and sizes are positive. Every annotation belongs to an image
        and has a box of four numbers. File names do not lead out of their folder, unless
        `any_file_name`.

    Raises:
        FileNotFoundError: the file does not exist.
        ValueError: the file is not JSON, or does not meet this description. The message names the
            entry.
    """
    coco = read_json(path)
    if not isinstance(coco, dict):
        raise ValueError(f"{path}: a JSON {type(coco).__name__}, expected a COCO dict")
    for key in ("images", "annotations"):
        if not isinstance(coco.get(key), list):
            raise ValueError(f"{path}: no list {key!r}, expected COCO JSON")
    if not isinstance(coco.setdefault("categories", [{"id": 1, "name": "nucleus"}]), list):
        raise ValueError(f"{path}: `categories` is not a list, expected COCO JSON")
    if not isinstance(coco.setdefault("info", {}), dict):
        raise ValueError(f"{path}: `info` is not a dict, expected COCO JSON")
    try:
        ids = _check_images(coco["images"], any_file_name)
        _check_annotations(coco["annotations"], ids)
    except ValueError as error:
        raise ValueError(f"{Path(path)}: {error}") from error
    return coco


def _check_images(images: list, any_file_name: bool) -> set[int]:
    ids: set[int] = set()
    for number, image in enumerate(images):
        where = f"images[{number}]"
        if not isinstance(image, Mapping):
            raise ValueError(f"{where} is not a dict")
        image_id = image.get("id")
        if not isinstance(image_id, int) or not _is_integer(image_id, 0):
            raise ValueError(f"{where} has the id {image_id!r}, expected a whole number")
        if image_id in ids:
            raise ValueError(f"{where} has the id {image_id} of another image")
        ids.add(image_id)
        for key in ("height", "width"):
            if not _is_integer(image.get(key), 1):
                raise ValueError(f"{where} has {key} {image.get(key)!r}, expected 1 or more pixels")
        if image["height"] * image["width"] > MOST_PIXELS:
            raise ValueError(
                f"{where} has {image['height']} × {image['width']} pixels, expected at most "
                f"{MOST_PIXELS / 1e6:.0f} million"
            )
        for key in ("file_name", "label_file"):
            name = image.get(key, "")
            if not isinstance(name, str) or (name and not any_file_name and not is_inside(name)):
                raise ValueError(f"{where} has {key} {name!r}, expected a path inside its folder")
    return ids


def _check_annotations(annotations: list, image_ids: set[int]) -> None:
    for number, annotation in enumerate(annotations):
        where = f"annotations[{number}]"
        if not isinstance(annotation, Mapping):
            raise ValueError(f"{where} is not a dict")
        image_id = annotation.get("image_id")
        if not _is_integer(image_id, 0) or image_id not in image_ids:
            raise ValueError(f"{where} has image_id {image_id!r}, expected the id of an image")
        box = annotation.get("bbox")
        if not isinstance(box, list) or len(box) != 4 or not all(map(_is_number, box)):
            raise ValueError(f"{where} has bbox {box!r}, expected [x, y, width, height]")
        if not isinstance(annotation.get("segmentation"), (dict, list)):
            raise ValueError(f"{where} has no segmentation, expected RLE or polygons")
        if isinstance(annotation.get("category_id"), (dict, list)):
            raise ValueError(f"{where} has category_id {annotation['category_id']!r}")


def _is_integer(value: object, minimum: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= minimum


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < 1e9
