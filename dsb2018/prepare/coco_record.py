"""Converts image records to COCO JSON."""

from collections.abc import Iterable, Mapping

from dsb2018.prepare.image_records import ImageRecord
from dsb2018.prepare.splits import ImageInfo

CATEGORIES = [{"id": 1, "name": "nucleus"}]


def to_coco(
    records: Iterable[ImageRecord],
    info: Mapping[str, ImageInfo],
    image_root: str,
    has_ground_truth: bool,
) -> dict:
    """Returns the COCO dict of one dataset.

    Image and annotation ids count from 1 in the order of the records. In addition to COCO's keys,
    each image has `dsb_id`, its name; `label_file` (relative to the prepared root) if it has ground
    truth; `foreground_only` if that is one mask of all nuclei, which is a crowd region in COCO's
    terms; and `modality` and `group` if they are known. `info` contains `image_root` and
    `has_truth`.

    Args:
        records: the images of the dataset, in the order of the output.
        info: modality and group, by image id.
        image_root: the folder that `file_name` is relative to; absolute, or relative to the
            prepared root.
        has_ground_truth: False if the images have no ground truth.
    """
    images, annotations = [], []
    for number, record in enumerate(records, start=1):
        images.append(_to_coco_image(record, number, info.get(record.image_id)))
        for nucleus in record.nuclei:
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": number,
                    "category_id": 1,
                    "bbox": nucleus.box,
                    "area": nucleus.area,
                    "iscrowd": int(record.foreground_only),
                    "segmentation": nucleus.rle,
                }
            )
    return {
        "info": {"description": "DSB2018", "image_root": image_root, "has_truth": has_ground_truth},
        "categories": CATEGORIES,
        "images": images,
        "annotations": annotations,
    }


def _to_coco_image(record: ImageRecord, number: int, info: ImageInfo | None) -> dict:
    image = {
        "id": number,
        "dsb_id": record.image_id,
        "file_name": record.file_name,
        "height": record.height,
        "width": record.width,
    }
    if record.label_file:
        image["label_file"] = record.label_file
    if record.foreground_only:
        image["foreground_only"] = True
    if info is not None and info.modality:
        image["modality"] = info.modality
    if info is not None and info.group:
        image["group"] = info.group
    return image
