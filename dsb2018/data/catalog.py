"""Registers prepared datasets with Detectron2."""

import os
import shlex
from collections.abc import Iterable
from pathlib import Path

from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.structures import BoxMode

from dsb2018.errors import UsageError
from dsb2018.io.coco_file import read_coco
from dsb2018.io.names import image_name
from dsb2018.io.paths import prepared_root
from dsb2018.structures.ground_truth import has_true_nuclei

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
    """Registers the prepared datasets of a root. A second call with the same root has no effect.

    The files are read when `DatasetCatalog.get` is called.

    Args:
        root: the prepared root; default: `$DETECTRON2_DATASETS/dsb2018`, else
            `./datasets/dsb2018`.

    Returns:
        The registered names: `NAMES`, and any other prepared dataset `dsb2018_*` in the root.

    Raises:
        ValueError: a name is already registered with another root.
    """
    folder = prepared_root(root).resolve() / "annotations"
    others = sorted(path.stem for path in folder.glob("dsb2018_*.json"))
    names = list(dict.fromkeys((*NAMES, *others)))
    for name in names:
        _register(name, folder / f"{name}.json")
    return names


def check_registered(names: Iterable[str], key: str) -> None:
    """Checks that datasets are registered.

    Args:
        names: names of datasets.
        key: option or config key that contains the names, for the message.

    Raises:
        UsageError: a dataset is not registered.
    """
    for name in names:
        if name not in DatasetCatalog.list():
            known = ", ".join(sorted(name for name in DatasetCatalog.list() if name in _registered))
            raise UsageError(f"{key}: dataset {name} is not registered, expected one of {known}")


def check_annotations(name: str, dataset_dicts: Iterable[dict], needs_nuclei: bool = False) -> None:
    """Checks that a dataset is one of nuclei.

    Args:
        name: name of the dataset.
        dataset_dicts: its images.
        needs_nuclei: whether a model learns from single nuclei.

    Raises:
        UsageError: the annotations have several categories; or single nuclei are needed, but only
            nuclei against background are known.
    """
    categories = set()
    for item in dataset_dicts:
        categories |= {annotation["category_id"] for annotation in item.get("annotations", ())}
        if needs_nuclei and not has_true_nuclei(item):
            raise UsageError(
                f"dataset {name}: only the foreground of image {image_name(item)} is known, but "
                "this model learns from single nuclei; train a model without MODEL.MASK_ON, or "
                "leave the dataset out of DATASETS.TRAIN"
            )
    if len(categories) > 1:
        names = MetadataCatalog.get(name).get("thing_classes", [])
        used = [names[c] if c < len(names) else str(c) for c in sorted(categories)]
        json_file = MetadataCatalog.get(name).get("json_file", "FILE.json")
        images = MetadataCatalog.get(name).get("image_root", "IMAGES")
        raise UsageError(
            f"dataset {name} has the categories {', '.join(used)}, expected one; choose those that "
            f"are nuclei: python tools/prepare_dsb2018.py --input {images} --truth {json_file} "
            f"--category {used[0]} --name NAME"
        )


def _register(name: str, json_file: Path) -> None:
    if name in DatasetCatalog.list():
        registered = MetadataCatalog.get(name).get("json_file")
        if registered != str(json_file):
            raise ValueError(
                f"dataset {name} is already registered from {registered}, so {json_file} cannot "
                f"be registered; use one root per process, or call unregister_dsb2018() first"
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
    """Removes all datasets that `register_dsb2018` registered, so that another root can be used."""
    while _registered:
        name = _registered.pop()
        DatasetCatalog.remove(name)
        MetadataCatalog.remove(name)


def load_dataset(json_file: str | os.PathLike) -> list[dict]:
    """Reads a prepared COCO JSON into Detectron2's standard dicts, sorted by image id.

    Besides the standard keys, a dict has `dsb_id` and, if it is known, `modality`. An image with
    ground truth has `label_file` and `annotations`. Without nuclei, `annotations` is empty. If the
    ground truth is one mask of all nuclei, the dict has `foreground_only`.

    Raises:
        FileNotFoundError: the dataset was not prepared.
        ValueError: see `read_coco`, or `tools/prepare_dsb2018.py` did not write the file.
    """
    json_file = Path(json_file)
    if not json_file.exists():
        raise FileNotFoundError(
            f"{json_file}: dataset {json_file.stem} was not prepared; run python "
            f"tools/prepare_dsb2018.py --input … --output {shlex.quote(str(json_file.parents[1]))} "
            "(see datasets/README.md)"
        )
    coco = read_coco(json_file)
    image_root, has_truth = coco["info"].get("image_root"), coco["info"].get("has_truth")
    if not isinstance(image_root, str) or not isinstance(has_truth, bool):
        raise ValueError(
            f"{json_file}: image_root or has_truth is missing in `info`, expected a file of "
            "tools/prepare_dsb2018.py; prepare the dataset again"
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
        raise ValueError(
            f"{json_file}: image {image['id']} has no file_name; prepare the dataset again"
        )
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
        if image.get("foreground_only"):
            item["foreground_only"] = True
    return item
