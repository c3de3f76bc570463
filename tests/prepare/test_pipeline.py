"""From DSB folders and archives to COCO JSON."""

import hashlib
import json
import os
import shutil
import subprocess
import sys
import time

import cv2
import numpy as np
import pytest
from pycocotools.coco import COCO

from dsb2018.prepare import InputError, Options, pipeline, prepare
from tests.conftest import DsbFolder, rectangle


def run(dsb, output, **options):
    return prepare(
        Options(input=dsb, output=output, **{"workers": 1, "progress": False, **options})
    )


def tree(root):
    """Returns the SHA-256 of every file below a folder, by relative path."""
    return {
        str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(root.rglob("*"))
        if path.is_file()
    }


@pytest.fixture
def difficult_cases(dsb):
    """Cases that are easily converted wrongly: the DSB folder, and the masks by image id."""
    donut = rectangle(4, 4, 16, 20) & ~rectangle(8, 9, 12, 14)
    one_pixel = rectangle(23, 31, 24, 32)
    touching = [rectangle(2, 2, 9, 9), rectangle(2, 9, 9, 15)]
    overlapping = [rectangle(2, 2, 9, 9), rectangle(5, 5, 12, 12), rectangle(8, 8, 20, 20)]
    masks = {
        "donut": [donut, one_pixel],
        "empty": [],
        "overlapping": overlapping,
        "touching": touching,
    }
    for image_id, nuclei in masks.items():
        dsb.add(image_id, nuclei)
    gray = np.random.default_rng(0).integers(0, 255, (24, 32), np.uint8)
    dsb.add("gray", [rectangle(0, 0, 24, 32)], image=gray)
    masks["gray"] = [rectangle(0, 0, 24, 32)]
    return dsb, masks


def test_masks_are_converted_without_loss(difficult_cases, tmp_path):
    dsb, masks = difficult_cases
    prepared = run(dsb.root, tmp_path / "out", name="all")
    assert prepared.datasets == {"dsb2018_all": (5, 8)}
    coco = COCO(str(tmp_path / "out" / "annotations" / "dsb2018_all.json"))
    for image in coco.loadImgs(coco.getImgIds()):
        annotations = coco.loadAnns(coco.getAnnIds(imgIds=[image["id"]]))
        expected = masks[image["dsb_id"]]
        assert len(annotations) == len(expected)
        labels = np.load(tmp_path / "out" / image["label_file"])
        for label, (annotation, mask) in enumerate(zip(annotations, expected, strict=True), 1):
            np.testing.assert_array_equal(coco.annToMask(annotation), mask)
            np.testing.assert_array_equal((labels == label).any(axis=0), mask)
            rows, columns = np.nonzero(mask)
            left, top = columns.min(), rows.min()
            box = [left, top, columns.max() + 1 - left, rows.max() + 1 - top]
            assert annotation["bbox"] == box
            assert annotation["area"] == mask.sum()
    assert sorted(coco.getAnnIds()) == list(range(1, 9))


def test_output_is_reproducible_with_any_number_of_processes(difficult_cases, tmp_path):
    options = {"val_fraction": 0.4}
    run(difficult_cases[0].root, tmp_path / "one", **options)
    run(difficult_cases[0].root, tmp_path / "two", workers=2, **options)
    run(difficult_cases[0].root, tmp_path / "two", workers=2, **options)
    assert tree(tmp_path / "one") == tree(tmp_path / "two")


def test_zip_archive_gives_the_same_ground_truth_as_folder(difficult_cases, tmp_path):
    archive = shutil.make_archive(str(tmp_path / "stage1_train"), "zip", difficult_cases[0].root)
    run(difficult_cases[0].root, tmp_path / "folder", name="all")
    run(archive, tmp_path / "zip", name="all", workers=2)
    jsons = [
        json.loads((tmp_path / kind / "annotations" / "dsb2018_all.json").read_text())
        for kind in ("folder", "zip")
    ]
    assert jsons[0]["annotations"] == jsons[1]["annotations"]
    for image in jsons[1]["images"]:
        copied = tmp_path / "zip" / image["file_name"]
        original = difficult_cases[0].root / image["dsb_id"] / "images" / f"{image['dsb_id']}.png"
        assert copied.read_bytes() == original.read_bytes()


def test_overlaps_are_reported(difficult_cases, tmp_path):
    prepared = run(difficult_cases[0].root, tmp_path / "out", name="all")
    assert len(prepared.notes) == 1
    assert "overlapping.png: 2 masks overlap other masks" in prepared.notes[0]
    assert (tmp_path / "out" / "report.txt").read_text().splitlines() == prepared.notes


def test_solution_gives_the_ground_truth_of_the_test_set(dsb, tmp_path):
    mask = rectangle(3, 4, 10, 12)
    dsb.add("a", [])
    shutil.rmtree(dsb.root / "a" / "masks")
    flat = np.flatnonzero(mask.T.ravel())
    runs = " ".join(f"{pixel + 1} 1" for pixel in flat)
    csv = tmp_path / "stage1_solution.csv"
    csv.write_text(f"ImageId,EncodedPixels,Height,Width,Usage\na,{runs},24,32,Public\n")
    assert run(dsb.root, tmp_path / "out", solution=csv).datasets == {"dsb2018_test": (1, 1)}
    coco = COCO(str(tmp_path / "out" / "annotations" / "dsb2018_test.json"))
    np.testing.assert_array_equal(coco.annToMask(coco.loadAnns([1])[0]), mask)
    csv.write_text(csv.read_text() + "b,1 1,24,32,Public\n")
    with pytest.raises(InputError, match="1 image ids are not in the input, for example b"):
        run(dsb.root, tmp_path / "out", solution=csv)


def test_images_without_ground_truth(dsb, tmp_path):
    dsb.add("a", [])
    shutil.rmtree(dsb.root / "a" / "masks")
    assert run(dsb.root, tmp_path / "out").datasets == {"dsb2018_test": (1, 0)}
    coco = json.loads((tmp_path / "out" / "annotations" / "dsb2018_test.json").read_text())
    assert coco["info"]["has_truth"] is False
    assert "label_file" not in coco["images"][0]
    assert not (tmp_path / "out" / "labels").exists()


def test_second_call_keeps_the_datasets_of_the_first(difficult_cases, dsb, tmp_path):
    run(dsb.root, tmp_path / "out", name="one")
    before = tree(tmp_path / "out")
    run(dsb.root, tmp_path / "out", name="two")
    after = tree(tmp_path / "out")
    assert before.items() <= after.items()


UNUSABLE = {
    "two images": (
        lambda f: shutil.copy(f / "images/bad.png", f / "images/x.png"),
        "2 image files",
    ),
    "no images": (lambda f: shutil.rmtree(f / "images"), "the folder `images` is missing"),
    "no masks": (lambda f: shutil.rmtree(f / "masks"), "no ground truth of this image"),
    "truncated image": (
        lambda f: (f / "images/bad.png").write_bytes((f / "images/bad.png").read_bytes()[:-9]),
        "truncated PNG",
    ),
    "truncated mask": (
        lambda f: (f / "masks/000.png").write_bytes((f / "masks/000.png").read_bytes()[:-20]),
        "truncated PNG",
    ),
    "empty file": (lambda f: (f / "masks/000.png").write_bytes(b""), "not a PNG"),
    "size": (
        lambda f: cv2.imwrite(str(f / "masks/000.png"), np.full((5, 5), 255, np.uint8)),
        "the mask has 5×5 pixels",
    ),
    "empty mask": (
        lambda f: cv2.imwrite(str(f / "masks/000.png"), np.zeros((24, 32), np.uint8)),
        "the mask is empty",
    ),
}


@pytest.mark.parametrize("name", UNUSABLE)
def test_unusable_files_are_named_or_skipped(dsb, tmp_path, name):
    damage, message = UNUSABLE[name]
    dsb.add("good", [rectangle(1, 1, 5, 5)])
    damage(dsb.add("bad", [rectangle(1, 1, 5, 5), rectangle(9, 9, 15, 15)]))
    with pytest.raises(InputError, match=message) as error:
        run(dsb.root, tmp_path / "out", name="all")
    assert str(dsb.root / "bad") in str(error.value)
    prepared = run(dsb.root, tmp_path / "out", name="all", skip_bad=True)
    # An empty mask can be skipped alone; any other fault leaves the ground truth incomplete.
    assert prepared.datasets == {"dsb2018_all": (2, 2) if name == "empty mask" else (1, 1)}
    assert len(prepared.notes) == 1
    assert "skipped" in prepared.notes[0]


def test_failed_run_keeps_the_old_output(dsb, tmp_path, monkeypatch):
    dsb.add("a", [rectangle(1, 1, 5, 5)])
    run(dsb.root, tmp_path / "out", name="all")
    before = tree(tmp_path / "out")
    dsb.add("b", [rectangle(1, 1, 5, 5)])

    def full_disk(staging, output):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(pipeline, "_publish", full_disk)
    with pytest.raises(OSError, match="No space"):
        run(dsb.root, tmp_path / "out", name="all")
    assert tree(tmp_path / "out") == before


def test_killed_run_keeps_the_old_output(dsb, tmp_path):
    dsb.add("a", [rectangle(1, 1, 5, 5)])
    run(dsb.root, tmp_path / "out", name="all")
    before = tree(tmp_path / "out")
    for number in range(300):
        dsb.add(f"b{number}", [rectangle(1, 1, 5, 5), rectangle(9, 9, 15, 15)])
    code = (
        "import sys; from dsb2018.prepare import Options, prepare\n"
        "prepare(Options(sys.argv[1], sys.argv[2], name='all', workers=1, progress=False))"
    )
    process = subprocess.Popen([sys.executable, "-c", code, str(dsb.root), str(tmp_path / "out")])
    while not list((tmp_path / "out").glob(".partial-*/labels/b*")):
        assert process.poll() is None, "the process ended before it was killed"
        time.sleep(0.005)
    process.kill()
    process.wait()
    after = tree(tmp_path / "out")
    assert {n: after[n] for n in after if not n.startswith(".partial-")} == before
    run(dsb.root, tmp_path / "out", name="all")
    assert not [name for name in os.listdir(tmp_path / "out") if name.startswith(".partial-")]


def test_preparation_does_not_import_torch():
    code = "import sys, dsb2018.prepare; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_images_that_the_solution_ignores_are_skipped(dsb, tmp_path):
    dsb.add("a", [])
    dsb.add("b", [])
    csv = tmp_path / "stage1_solution.csv"
    header = "ImageId,EncodedPixels,Height,Width,Usage"
    csv.write_text(f"{header}\na,1 5,24,32,Public\nb,1 5,24,32,Ignored\n")
    prepared = run(dsb.root, tmp_path / "out", solution=csv)
    assert prepared.datasets == {"dsb2018_test": (1, 1)}
    assert prepared.notes == [f"{csv}: 1 images are marked Ignored and were skipped"]


def test_name_and_splits_together(dsb, tmp_path):
    dsb.add("a", [rectangle(1, 1, 5, 5)])
    (tmp_path / "splits").mkdir()
    (tmp_path / "splits" / "train.txt").write_text("a\n")
    prepared = run(dsb.root, tmp_path / "out", name="mine", splits=tmp_path / "splits")
    assert prepared.datasets == {"dsb2018_mine_train": (1, 1)}


def test_archives_with_the_same_ids_are_kept_apart(tmp_path):
    for name, seed in (("one", 1), ("two", 2)):
        image = np.random.default_rng(seed).integers(0, 255, (24, 32), np.uint8)
        folder = DsbFolder(tmp_path / name)
        folder.add("a", [rectangle(1, 1, 5, 5)], image=image)
        archive = shutil.make_archive(str(tmp_path / name), "zip", folder.root)
        run(archive, tmp_path / "out", name=name)
    for name in ("one", "two"):
        coco = json.loads((tmp_path / "out" / f"annotations/dsb2018_{name}.json").read_text())
        image = (tmp_path / "out" / coco["images"][0]["file_name"]).read_bytes()
        assert image == (tmp_path / name / "a/images/a.png").read_bytes()
