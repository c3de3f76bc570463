"""Every form of input data gives the same dataset."""

import json

import cv2
import numpy as np
import pytest
import tifffile

from dsb2018.data.catalog import load_dataset
from dsb2018.errors import UsageError
from dsb2018.images.pixels import read_dataset_image
from dsb2018.prepare import InputError, Options, prepare
from dsb2018.structures.ground_truth import has_true_nuclei, read_label_layers
from tests.conftest import DsbFolder
from tests.prepare import forms


def run(tmp_path, **options):
    return prepare(
        Options(**{"output": tmp_path / "out", "workers": 1, "progress": False, **options})
    )


def items(tmp_path, name="x"):
    dicts = load_dataset(tmp_path / "out" / "annotations" / f"dsb2018_{name}.json")
    return {item["dsb_id"]: item for item in dicts}


def masks(labels):
    return sorted((labels == k).tobytes() for k in np.unique(labels) if k)


@pytest.mark.parametrize("name", forms.WRITERS)
@pytest.mark.parametrize("workers", [1, 2])
def test_all_forms_give_the_same_images_and_nuclei(tmp_path, name, workers):
    options = forms.WRITERS[name](tmp_path / "in")
    prepared = run(tmp_path, name="x", workers=workers, **options)
    assert prepared.datasets == {"dsb2018_x": (3, 12)}
    found = items(tmp_path)
    ids = [f"{n}_img" if name == "cellpose" else n for n in forms.NAMES]
    assert sorted(found) == sorted(ids)
    for seed, image_id in enumerate(ids):
        item = found[image_id]
        np.testing.assert_array_equal(read_dataset_image(item)[..., 0], forms.draw_image(seed))
        (layer,) = read_label_layers(item)
        assert masks(layer) == masks(forms.draw_labels(seed))
        assert len(item["annotations"]) == 4


def test_polygons_are_filled_as_pycocotools_does(tmp_path):
    triangle = [[10.0, 5.0, 30.5, 8.0, 12.0, 30.0]]
    forms._write_images(tmp_path / "in")
    coco = forms._coco("", lambda mask: triangle)
    (tmp_path / "in" / "labels.json").write_text(json.dumps(coco))
    run(tmp_path, name="x", input=tmp_path / "in")
    (item, *_) = items(tmp_path).values()
    annotations = [{"segmentation": triangle}] * 4  # as `register_coco_instances` gives them
    same = {"height": forms.HEIGHT, "width": forms.WIDTH, "annotations": annotations}
    np.testing.assert_array_equal(read_label_layers(item), read_label_layers(same))
    assert 200 < (read_label_layers(item)[0] > 0).sum() < 300


def test_categories_are_chosen_or_reported(tmp_path):
    forms._write_images(tmp_path / "in")
    coco = forms._coco("", forms.encode)
    for annotation in coco["annotations"][:2]:
        annotation["category_id"] = 0
    coco["annotations"][2]["iscrowd"] = 1
    (tmp_path / "in" / "a.json").write_text(json.dumps(coco))
    prepared = run(tmp_path, name="x", input=tmp_path / "in")
    assert prepared.datasets == {"dsb2018_x": (3, 11)}
    assert any("cells, nucleus are all treated as nuclei" in note for note in prepared.notes)
    assert any("1 annotations with iscrowd 1" in note for note in prepared.notes)
    prepared = run(tmp_path, name="x", input=tmp_path / "in", categories=("nucleus",))
    assert prepared.datasets == {"dsb2018_x": (3, 9)}
    with pytest.raises(UsageError, match="--category mitosis: not in .*a.json, expected one of"):
        run(tmp_path, name="x", input=tmp_path / "in", categories=("mitosis",))


def test_folders_train_valid_test_are_datasets(tmp_path):
    for folder in ("train", "valid", "test"):
        forms._write_images(tmp_path / "in" / folder)
        coco = forms._coco("", forms.encode)
        (tmp_path / "in" / folder / "_annotations.coco.json").write_text(json.dumps(coco))
    prepared = run(tmp_path, name="x", input=tmp_path / "in")
    names = ("dsb2018_x_test", "dsb2018_x_train", "dsb2018_x_val")
    assert prepared.datasets == dict.fromkeys(names, (3, 12))
    item = items(tmp_path, "x_val")["valid_a_1"]  # the names are not unique without the folder
    assert item["file_name"].endswith("valid/a_1.png")
    with pytest.raises(UsageError, match="already has a folder of validation images"):
        run(tmp_path, name="x", input=tmp_path / "in", val_fraction=0.5)


def test_validation_images_are_drawn_from_the_training_images_only(tmp_path):
    forms.stardist(tmp_path / "in" / "train")
    forms.stardist(tmp_path / "in" / "test")
    prepared = run(tmp_path, input=tmp_path / "in", val_fraction=0.4)
    counts = {name: images for name, (images, _) in prepared.datasets.items()}
    assert counts == {"dsb2018_train": 2, "dsb2018_val": 1, "dsb2018_test": 3}


def test_groups_stay_together(tmp_path):
    forms.stardist(tmp_path / "in")
    run(tmp_path, input=tmp_path / "in", name="x", val_fraction=0.4, group="^([a-z])_")
    assert sorted(items(tmp_path, "x_train")) == ["a_1", "a_2"]
    assert sorted(items(tmp_path, "x_val")) == ["b_1"]
    with pytest.raises(UsageError, match="--group q: found in no image name, for example a_1"):
        run(tmp_path, input=tmp_path / "in", group="q")
    with pytest.raises(UsageError, match=r"--group \(: not a regular expression"):
        run(tmp_path, input=tmp_path / "in", group="(")


def test_foreground_masks(tmp_path):
    forms._write_images(tmp_path / "in" / "images")
    (tmp_path / "in" / "foreground").mkdir()
    for name, labels in forms._labels().items():
        mask = (labels > 0).astype(np.uint8) * 255
        cv2.imwrite(str(tmp_path / "in" / "foreground" / f"{name}.png"), mask)
    prepared = run(tmp_path, name="x", input=tmp_path / "in")
    assert prepared.datasets == {"dsb2018_x": (3, 0)}
    assert "foreground masks only" in prepared.notes[0]
    item = items(tmp_path)["a_1"]
    assert not has_true_nuclei(item)
    assert [annotation["iscrowd"] for annotation in item["annotations"]] == [1]
    (layer,) = read_label_layers(item)
    np.testing.assert_array_equal(layer, forms.draw_labels(0) > 0)


def test_binary_masks_need_a_decision(tmp_path):
    forms._write_images(tmp_path / "in" / "images")
    (tmp_path / "in" / "masks").mkdir()
    for name, labels in forms._labels().items():
        mask = (labels > 0).astype(np.uint8) * 255
        cv2.imwrite(str(tmp_path / "in" / "masks" / f"{name}.png"), mask)
    with pytest.raises(
        InputError, match=r"a_1\.png: the value 255 in \d separate regions.*regions"
    ):
        run(tmp_path, name="x", input=tmp_path / "in")
    prepared = run(tmp_path, name="x", input=tmp_path / "in", label_values="regions")
    assert prepared.datasets == {"dsb2018_x": (3, 9)}  # the rectangle touches the disc
    prepared = run(tmp_path, name="x", input=tmp_path / "in", label_values="foreground")
    assert prepared.datasets == {"dsb2018_x": (3, 0)}


def test_channel_of_images_with_several(tmp_path):
    forms.stardist(tmp_path / "in")
    for seed, name in enumerate(forms.NAMES):
        channels = np.stack([forms.draw_image(9), forms.draw_image(seed)])
        path = tmp_path / "in" / "images" / f"{name}.tif"
        tifffile.imwrite(path, channels, metadata={"axes": "CYX"}, photometric="minisblack")
    with pytest.raises(InputError, match="a_1.tif: 2 channels; name the nuclear channel with --ch"):
        run(tmp_path, name="x", input=tmp_path / "in")
    run(tmp_path, name="x", input=tmp_path / "in", channel="1")
    pixels = read_dataset_image(items(tmp_path)["a_2"])
    np.testing.assert_array_equal(pixels[..., 0], forms.draw_image(1))


def test_unpaired_images_are_errors_or_skipped(tmp_path):
    forms.stardist(tmp_path / "in")
    (tmp_path / "in" / "masks" / "a_2.tif").rename(tmp_path / "in" / "masks" / "other.tif")
    with pytest.raises(InputError, match=r"images/a_2.tif: no ground truth of this image"):
        run(tmp_path, name="x", input=tmp_path / "in")
    prepared = run(tmp_path, name="x", input=tmp_path / "in", skip_bad=True)
    assert prepared.datasets == {"dsb2018_x": (2, 8)}
    assert any("1 files of ground truth without image" in note for note in prepared.notes)


@pytest.mark.parametrize("dtype", ["int64", "uint64", "float64"])
def test_label_images_of_64_bits(tmp_path, dtype):
    forms.stardist(tmp_path / "in")
    for file in (tmp_path / "in" / "masks").iterdir():
        tifffile.imwrite(file, tifffile.imread(file).astype(dtype))
    assert run(tmp_path, name="x", input=tmp_path / "in").datasets == {"dsb2018_x": (3, 12)}


def _photo(root):
    noise = np.random.default_rng(0).integers(0, 255, (forms.HEIGHT, forms.WIDTH), np.uint8)
    cv2.imwrite(str(root / "masks" / "a_1.png"), noise)
    (root / "masks" / "a_1.tif").unlink()


def _more_values_than_pixels(root):
    values = np.arange(1, forms.HEIGHT * forms.WIDTH + 1, dtype=np.uint32)
    tifffile.imwrite(root / "masks" / "a_1.tif", values.reshape(forms.HEIGHT, forms.WIDTH))


def _fractions(root):
    tifffile.imwrite(root / "masks" / "a_1.tif", np.full((40, 60), 0.5, np.float32))


def _negative(root):
    tifffile.imwrite(root / "masks" / "a_1.tif", np.full((40, 60), -1, np.int16))


def _other_size(root):
    tifffile.imwrite(root / "masks" / "a_1.tif", np.ones((10, 10), np.uint8))


def _stack_of_labels(root):
    tifffile.imwrite(root / "masks" / "a_1.tif", np.ones((5, 40, 60), np.uint8))


def _damaged_labels(root):
    (root / "masks" / "a_1.tif").write_bytes(b"II*\x00broken")


def _stack(root):
    tifffile.imwrite(root / "images" / "a_1.tif", np.ones((5, 40, 60), np.uint8))


def _not_a_number(root):
    tifffile.imwrite(root / "images" / "a_1.tif", np.full((40, 60), np.nan, np.float32))


def _two_truths(root):
    forms.cv2.imwrite(str(root / "masks" / "a_1.png"), forms.draw_labels(0))


BAD_FILES = {
    _photo: "different values, scattered over 2400 pixels, expected a label image .* not a photo",
    _more_values_than_pixels: "2400 different values, scattered over 2400 pixels",
    _fractions: "values that are not whole numbers",
    _negative: "negative or huge values",
    _other_size: "10×10 pixels, its image has 40×60",
    _stack_of_labels: "a stack of 5 slices, expected one 2-D image",
    _damaged_labels: "no image in the file",
    _stack: "a stack of 5 slices, expected one 2-D image",
    _not_a_number: "pixels that are NaN or infinite",
    _two_truths: "2 files of ground truth: masks/a_1.png, masks/a_1.tif",
}


@pytest.mark.parametrize("damage", BAD_FILES, ids=lambda f: f.__name__)
def test_unusable_files_are_named_or_skipped(tmp_path, damage):
    forms.stardist(tmp_path / "in")
    damage(tmp_path / "in")
    with pytest.raises(InputError, match=BAD_FILES[damage]) as error:
        run(tmp_path, name="x", input=tmp_path / "in")
    assert "/a_1." in str(error.value)
    assert "/tmp" not in str(error.value).replace(str(tmp_path), "")
    prepared = run(tmp_path, name="x", input=tmp_path / "in", skip_bad=True)
    assert prepared.datasets == {"dsb2018_x": (2, 8)}


def _without_truth(root):
    forms._write_images(root)
    return {"input": root}


def _names_that_do_not_pair(root):
    forms._write_images(root / "images")
    forms._write_images(root / "labels", ending="x")
    return {"input": root}


def _nothing(root):
    root.mkdir()
    return {"input": root}


def _coco_without_images(root):
    root.mkdir()
    (root / "a.json").write_text(json.dumps(forms._coco("", forms.encode)))
    return {"input": root / "a.json"}


def _polygon_of_two_points(root):
    forms._write_images(root)
    coco = forms._coco("", lambda mask: [[1, 1, 5, 5]])
    (root / "a.json").write_text(json.dumps(coco))
    return {"input": root}


def _coco_of_other_images(root):
    options = forms.coco_rle(root)
    cv2.imwrite(str(root / "images" / "default" / "a_1.png"), np.zeros((9, 9), np.uint8))
    return options


def _geojson_as_coco(root):
    options = forms.qupath(root)
    return {**options, "truth": (root / "geojson" / "a_1.geojson").rename(root / "a.json")}


def _damaged_rois(root):
    options = forms.roi_zips(root)
    with forms.zipfile.ZipFile(root / "a_1_rois.zip", "w") as archive:
        archive.writestr("1.roi", b"Iout, but damaged")
    return options


def _damaged_geojson(root):
    options = forms.qupath(root)
    (root / "geojson" / "a_1.geojson").write_text('{"type": "FeatureCollection"}')
    return options


def _pickled_labels(root):
    forms._write_images(root)
    np.save(root / "a_1_seg.npy", {"masks": 1}, allow_pickle=True)
    return {"input": root}


BAD_INPUT = {
    _without_truth: "3 images without ground truth, .*--truth FOLDER; to segment them: .*predict",
    _names_that_do_not_pair: "do not match, for example images/a_1.png and labels/a_1x.png",
    _nothing: "no images in it .expected label images in a folder",
    _coco_without_images: "none of its 3 images is in .*--input IMAGES --truth FILE.json",
    _polygon_of_two_points: "annotation 1 of this image is a polygon of 2 points",
    _coco_of_other_images: "9×9 pixels, but 40×60 in the COCO JSON",
    _geojson_as_coco: "a.json: no list 'images', expected COCO JSON",
    _damaged_rois: "1.roi is not a readable ROI",
    _damaged_geojson: "not GeoJSON of features with outlines",
    _pickled_labels: "a_1_seg.npy: .*Python objects, which could run code",
}


@pytest.mark.parametrize("write", BAD_INPUT, ids=lambda f: f.__name__)
def test_wrong_input_gets_one_line(tmp_path, write):
    options = write(tmp_path / "in")
    with pytest.raises(InputError, match=BAD_INPUT[write]) as error:
        run(tmp_path, name="x", **options)
    assert "\n" not in str(error.value)


def test_form_can_be_named(tmp_path):
    forms.qupath(tmp_path / "in")
    (tmp_path / "in" / "labels").mkdir()
    for name, labels in forms._labels().items():
        cv2.imwrite(str(tmp_path / "in" / "labels" / f"{name}.png"), (labels == 1).astype("u1"))
    assert run(tmp_path, name="x", input=tmp_path / "in").datasets == {"dsb2018_x": (3, 3)}
    prepared = run(tmp_path, name="x", input=tmp_path / "in", form="geojson")
    assert prepared.datasets == {"dsb2018_x": (3, 12)}
    with pytest.raises(UsageError, match="form 'masks', expected one of dsb, coco, labels, rois"):
        run(tmp_path, input=tmp_path / "in", form="masks")


def test_truth_inside_the_folder_of_the_images(tmp_path):
    forms.float_labels(tmp_path / "in")
    (tmp_path / "in" / "corrected").rename(tmp_path / "in" / "pictures" / "mine")
    pictures = tmp_path / "in" / "pictures"
    assert run(tmp_path, name="x", input=pictures, truth=pictures / "mine").datasets == {
        "dsb2018_x": (3, 12)
    }


def test_truth_of_several_kinds(tmp_path):
    forms.stardist(tmp_path / "in")
    (tmp_path / "in" / "masks" / "a_1.geojson").write_text('{"features": []}')
    options = {"name": "x", "input": tmp_path / "in" / "images", "truth": tmp_path / "in" / "masks"}
    with pytest.raises(InputError, match=r"several kinds: labels, and a_1\.geojson"):
        run(tmp_path, **options)
    assert run(tmp_path, **options, form="labels").datasets == {"dsb2018_x": (3, 12)}


def test_dsb_folders_are_told_from_label_images(tmp_path, dsb):
    dsb.add("a", [forms.draw_labels(0) == k for k in (1, 2)])
    assert run(tmp_path, name="x", input=dsb.root).datasets == {"dsb2018_x": (1, 2)}
    forms.stardist(tmp_path / "in" / "train")
    for folder in ("images", "masks"):  # a single image
        for name in ("a_2", "b_1"):
            (tmp_path / "in" / "train" / folder / f"{name}.tif").unlink()
    assert run(tmp_path, name="x", input=tmp_path / "in").datasets == {"dsb2018_x_train": (1, 4)}


def test_names_that_occur_twice(tmp_path):
    root = DsbFolder(tmp_path / "in").root
    forms.stardist(root / "site1")
    forms.stardist(root / "site2")
    assert run(tmp_path, name="x", input=root).datasets == {"dsb2018_x": (6, 24)}
    assert "site2_images_b_1" in items(tmp_path)
