import json

import pytest

from dsb2018.io.coco_file import read_coco

IMAGE = {"id": 1, "file_name": "a.png", "height": 4, "width": 6}
ANNOTATION = {
    "id": 1,
    "image_id": 1,
    "category_id": 1,
    "bbox": [0, 0, 2, 2],
    "segmentation": {"size": [4, 6], "counts": "0"},
}


def write_coco(tmp_path, images=(IMAGE,), annotations=(ANNOTATION,)):
    path = tmp_path / "data.json"
    content = {"images": list(images), "annotations": list(annotations)}
    path.write_text(json.dumps(content))
    return path


def test_missing_entries_are_added(tmp_path):
    coco = read_coco(write_coco(tmp_path))
    assert coco["info"] == {}
    assert coco["categories"] == [{"id": 1, "name": "nucleus"}]
    assert coco["annotations"] == [ANNOTATION]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "not a JSON file"),
        ("[" * 100_000, "not a JSON file"),
        ("[]", "a JSON list, expected a COCO dict"),
        ("{}", "no list 'images'"),
        ('{"images": [], "annotations": 3}', "no list 'annotations'"),
        ('{"images": [], "annotations": [], "info": 3}', "`info` is not a dict"),
    ],
)
def test_files_without_coco_content_raise(tmp_path, text, message):
    path = tmp_path / "data.json"
    path.write_text(text)
    with pytest.raises(ValueError, match=message) as error:
        read_coco(path)
    assert str(path) in str(error.value)


@pytest.mark.parametrize(
    ("images", "message"),
    [
        ([5], r"images\[0\] is not a dict"),
        ([{**IMAGE, "id": "a"}], r"the id 'a', expected a whole number"),
        ([IMAGE, IMAGE], r"images\[1\] has the id 1 of another image"),
        ([{**IMAGE, "height": 0}], "height 0, expected 1 or more"),
        ([{**IMAGE, "width": True}], "width True, expected 1 or more"),
        ([{**IMAGE, "height": 10**6, "width": 10**6}], "at most 134 million"),
        ([{**IMAGE, "file_name": "../../a.png"}], "expected a path inside its folder"),
        ([{**IMAGE, "file_name": "/etc/passwd"}], "expected a path inside its folder"),
        ([{**IMAGE, "label_file": "../a.npy"}], "label_file '../a.npy', expected a path inside"),
    ],
)
def test_bad_images_raise(tmp_path, images, message):
    with pytest.raises(ValueError, match=message):
        read_coco(write_coco(tmp_path, images=images))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"image_id": 999}, r"annotations\[0\] has image_id 999, expected the id of an image"),
        ({"image_id": [1]}, r"has image_id \[1\], expected the id of an image"),
        ({"bbox": [1, 2]}, "expected .x, y, width, height."),
        ({"bbox": [0, 0, float("nan"), 1]}, "expected .x, y, width, height."),
        ({"segmentation": "x"}, "no segmentation, expected RLE or polygons"),
    ],
)
def test_bad_annotations_raise(tmp_path, change, message):
    with pytest.raises(ValueError, match=message):
        read_coco(write_coco(tmp_path, annotations=[{**ANNOTATION, **change}]))
