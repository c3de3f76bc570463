"""COCO JSON from records: a plain function, so that its output can be tested as a value."""

from collections.abc import Iterable, Mapping

from dsb2018.prepare.records import Record
from dsb2018.prepare.splits import ImageInfo

CATEGORIES = [{"id": 1, "name": "nucleus"}]


def to_coco(
    records: Iterable[Record],
    info: Mapping[str, ImageInfo],
    image_root: str,
    has_truth: bool,
) -> dict:
    """The COCO dict of one dataset.

    Image and annotation ids count from 1, in the order of the records. Beside COCO's keys, an
    image has `dsb_id`, `label_file` (relative to the prepared root), and, where known,
    `modality` and `group`; `info` has `image_root` (what `file_name` is relative to; itself
    relative to the prepared root, or absolute) and `has_truth`.

    Args:
        records: in the order wanted.
        info: modality and group by image id.
        image_root: see above.
        has_truth: False where the images have no truth at all.
    """
    images, annotations = [], []
    for image_id, record in enumerate(records, start=1):
        images.append(_image(record, image_id, info.get(record.image_id)))
        for nucleus in record.nuclei:
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": image_id,
                    "category_id": 1,
                    "bbox": nucleus.box,
                    "area": nucleus.area,
                    "iscrowd": 0,
                    "segmentation": nucleus.rle,
                }
            )
    about = {"description": "DSB2018", "image_root": image_root, "has_truth": has_truth}
    return {
        "info": about,
        "categories": CATEGORIES,
        "images": images,
        "annotations": annotations,
    }


def _image(record: Record, image_id: int, info: ImageInfo | None) -> dict:
    image = {
        "id": image_id,
        "dsb_id": record.image_id,
        "file_name": record.file_name,
        "height": record.height,
        "width": record.width,
    }
    if record.label_file:
        image["label_file"] = record.label_file
    if info is not None:
        image |= {"modality": info.modality, "group": info.group}
    return image
