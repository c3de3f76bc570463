"""Prepared datasets as registered datasets of Detectron2."""

import os
from collections.abc import Iterable
from pathlib import Path

from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.structures import BoxMode

from dsb2018.errors import UsageError
from dsb2018.io.coco_file import read_coco
from dsb2018.io.paths import prepared_root

NAMES = (
    "dsb2018_train",
    "dsb2018_val",
    "dsb2018_test",
    "dsb2018_stardist_train",
    "dsb2018_stardist_test",
    "dsb2018_sample_train",
    "dsb2018_sample_val",
)
_registered: set[str] = set()


def register_dsb2018(root: str | os.PathLike | None = None) -> list[str]:
    """Registers the prepared datasets of a root; a second call does no harm.

    Files are read when a dataset is asked for, not here.

    Args:
        root: the prepared root; default: `$DETECTRON2_DATASETS/dsb2018`, else
            `./datasets/dsb2018`.

    Returns:
        The registered names: `NAMES`, and any other `dsb2018_*` that was prepared there.

    Raises:
        ValueError: a name is registered already, with another root.
    """
    folder = prepared_root(root).resolve() / "annotations"
    others = sorted(path.stem for path in folder.glob("dsb2018_*.json"))
    names = list(dict.fromkeys((*NAMES, *others)))
    for name in names:
        _register(name, folder / f"{name}.json")
    return names


def check_registered(names: Iterable[str], key: str) -> None:
    """Checks names of datasets before anything is computed.

    Args:
        names: of datasets.
        key: the option or config key that they come from.

    Raises:
        UsageError: one is not registered.
    """
    for name in names:
        if name not in DatasetCatalog.list():
            ours = ", ".join(sorted(name for name in DatasetCatalog.list() if name in _registered))
            raise UsageError(f"{key}: dataset {name} is not registered; known here are {ours}")


def _register(name: str, json_file: Path) -> None:
    if name in DatasetCatalog.list():
        registered = MetadataCatalog.get(name).get("json_file")
        if registered != str(json_file):
            raise ValueError(
                f"dataset {name} is registered already, from {registered}, not from {json_file}; "
                f"use one root in a process, or call unregister_dsb2018() first"
            )
        return
    DatasetCatalog.register(name, lambda: load_dataset(json_file))
    _registered.add(name)
    MetadataCatalog.get(name).set(
        json_file=str(json_file),
        evaluator_type="nuclei",
        thing_classes=["nucleus"],
        thing_dataset_id_to_contiguous_id={1: 0},
        stuff_classes=["background", "nucleus"],
    )


def unregister_dsb2018() -> None:
    """Forgets all that `register_dsb2018` registered, so that another root can be used."""
    while _registered:
        name = _registered.pop()
        DatasetCatalog.remove(name)
        MetadataCatalog.remove(name)


def load_dataset(json_file: str | os.PathLike) -> list[dict]:
    """Reads a prepared COCO JSON into Detectron2's standard dicts, sorted by image id.

    Beside the standard keys a dict has `dsb_id`, `label_file` where there is truth, and
    `modality` where known. `annotations` is there where there is truth, and may be empty.

    Raises:
        FileNotFoundError: the dataset was not prepared.
        ValueError: see `read_coco`, or not a JSON of `tools/prepare_dsb2018.py`.
    """
    json_file = Path(json_file)
    if not json_file.exists():
        raise FileNotFoundError(
            f"{json_file}: dataset {json_file.stem} was not prepared; run tools/prepare_dsb2018.py "
            f"--input … --output {json_file.parents[1]} (see datasets/README.md)"
        )
    coco = read_coco(json_file)
    image_root, has_truth = coco["info"].get("image_root"), coco["info"].get("has_truth")
    if not isinstance(image_root, str) or not isinstance(has_truth, bool):
        raise ValueError(
            f"{json_file}: `info` lacks image_root or has_truth, which tools/prepare_dsb2018.py "
            "writes; prepare the dataset again"
        )
    dicts = {
        image["id"]: _dataset_dict(image, json_file, image_root, has_truth)
        for image in coco["images"]
    }
    for annotation in coco["annotations"]:
        dicts[annotation["image_id"]]["annotations"].append(
            {
                "bbox": annotation["bbox"],
                "bbox_mode": BoxMode.XYWH_ABS,
                "category_id": 0,
                "iscrowd": annotation.get("iscrowd", 0),
                "segmentation": annotation["segmentation"],
            }
        )
    return [dicts[image_id] for image_id in sorted(dicts)]


def _dataset_dict(image: dict, json_file: Path, image_root: str, has_truth: bool) -> dict:
    root = json_file.parents[1]
    if not image.get("file_name"):
        raise ValueError(f"{json_file}: image {image['id']} has no file_name")
    item = {
        "file_name": str(root / image_root / image["file_name"]),
        "image_id": image["id"],
        "dsb_id": str(image.get("dsb_id", image["id"])),
        "height": image["height"],
        "width": image["width"],
    }
    if "modality" in image:
        item["modality"] = str(image["modality"])
    if has_truth:
        if not image.get("label_file"):
            raise ValueError(
                f"{json_file}: image {item['dsb_id']} has no label_file; prepare the dataset again"
            )
        item["label_file"] = str(root / image["label_file"])
        item["annotations"] = []
    return item
