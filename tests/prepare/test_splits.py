import pytest

from dsb2018.errors import InputError
from dsb2018.prepare.splits import ImageInfo, random_splits, read_image_info, read_splits


def write(folder, **lists):
    for name, text in lists.items():
        (folder / f"{name}.txt").write_text(text)
    return folder


def test_lists_become_datasets(tmp_path):
    write(tmp_path, train="b\na  # a comment\n\n# another\n", val="c\n", stardist_train="a\nc\n")
    splits, notes = read_splits(tmp_path, {"a", "b", "c", "d"})
    assert splits == {
        "dsb2018_train": ["a", "b"],
        "dsb2018_val": ["c"],
        "dsb2018_stardist_train": ["a", "c"],
    }
    assert notes == []


def test_optional_id_may_be_absent(tmp_path):
    write(tmp_path, train="a\nx optional\n")
    splits, notes = read_splits(tmp_path, {"a"})
    assert splits == {"dsb2018_train": ["a"]}
    assert len(notes) == 1
    assert "x" in notes[0]


@pytest.mark.parametrize(
    ("lists", "message"),
    [
        ({"train": "a\nx\n"}, r"train\.txt: 1 image ids are not in the input, for example x"),
        ({"train": "a\na\n"}, r"train\.txt:2: image id a is listed twice"),
        ({"train": "a\n", "val": "a\n"}, r"val\.txt: image id a is also in .*train\.txt"),
        ({"train": "a.png\n"}, r"for example a\.png \(list names as .* without extension"),
    ],
)
def test_invalid_lists(tmp_path, lists, message):
    with pytest.raises(InputError, match=message):
        read_splits(write(tmp_path, **lists), {"a", "b"})


def test_names_with_blanks_and_number_signs(tmp_path):
    lists = write(tmp_path, train="field 1  # the first\nb#3\nx y optional\n# all\n")
    splits, notes = read_splits(lists, {"field 1", "b#3"})
    assert splits == {"dsb2018_train": ["b#3", "field 1"]}
    assert "x y" in notes[0]


def test_no_lists(tmp_path):
    with pytest.raises(FileNotFoundError, match="no split list"):
        read_splits(tmp_path, {"a"})


def test_random_splits_keep_groups_and_proportions():
    ids = [f"i{number:03d}" for number in range(200)]
    info = {
        image_id: ImageInfo("histology" if number < 60 else "fluorescence", f"g{number // 3}")
        for number, image_id in enumerate(ids)
    }
    splits = random_splits(ids, info, val_fraction=0.2, seed=3)
    train, val = (set(splits[f"dsb2018_{name}"]) for name in ("train", "val"))
    assert train | val == set(ids)
    assert not train & val
    assert not {info[i].group for i in train} & {info[i].group for i in val}
    assert sum(info[i].modality == "histology" for i in val) == 12
    assert 26 <= sum(info[i].modality == "fluorescence" for i in val) <= 28
    assert random_splits(ids[::-1], info, 0.2, 3) == splits
    assert random_splits(ids, info, 0.2, 4) != splits


@pytest.mark.parametrize("fraction", [0, 1, -0.1])
def test_fraction_out_of_range(fraction):
    with pytest.raises(ValueError, match="between 0 and 1"):
        random_splits(["a"], {}, fraction, 0)


def test_too_few_images_to_split():
    with pytest.raises(ValueError, match="leaves 3 for training and 0 for validation"):
        random_splits(["a", "b", "c"], {}, 0.1, 0)


def test_image_info(tmp_path):
    path = tmp_path / "modality.csv"
    path.write_text("image_id,modality,extra,group\na,histology,x,7\n")
    assert read_image_info(path) == {"a": ImageInfo("histology", "7")}
    path.write_text("image_id,modality\na,histology\n")
    with pytest.raises(InputError, match=r"modality\.csv: columns \['group'\] are missing"):
        read_image_info(path)
    path.write_text("image_id,modality,group\na,x,1\na,x,1\n")
    with pytest.raises(InputError, match="image id a is listed twice"):
        read_image_info(path)
    with pytest.raises(FileNotFoundError):
        read_image_info(tmp_path / "missing.csv")


def test_lists_of_the_project(project):
    ids = {
        path.stem: path.read_text().split() for path in (project / "datasets/splits").glob("*.txt")
    }
    assert len(ids["train"]) == 589
    assert len(ids["val"]) == 75
    assert len(ids["stardist_train"]) == 446
    info = read_image_info(project / "datasets/modality.csv")
    splits, notes = read_splits(project / "datasets/splits", info)
    assert len(splits["dsb2018_stardist_test"]) == 49
    assert len(notes) == 1
    groups = [{info[i].group for i in splits[f"dsb2018_{name}"]} for name in ("train", "val")]
    assert not groups[0] & groups[1]
