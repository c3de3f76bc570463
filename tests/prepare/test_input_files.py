import zipfile

import pytest

from dsb2018.errors import InputError
from dsb2018.prepare.forms import SourceImage, open_form
from dsb2018.prepare.input_files import ZipFiles, open_files


def make_zip(path, names):
    with zipfile.ZipFile(path, "w") as archive:
        for name in names:
            archive.writestr(name, b"x")
    return path


def test_folder_lists_images_and_masks(dsb):
    from tests.conftest import rectangle

    dsb.add("b", [rectangle(0, 0, 2, 2)])
    dsb.add("a", [])
    (dsb.root / ".hidden").mkdir()
    (dsb.root / "notes.txt").write_text("not an image")
    form = open_form(dsb.root)
    assert form.list_images()[0] == [
        SourceImage("a", ("a/images/a.png",), ()),
        SourceImage("b", ("b/images/b.png",), ("b/masks/000.png",)),
    ]
    assert form.files.read("b/images/b.png").startswith(b"\x89PNG")


@pytest.mark.parametrize("top", ["", "stage1_train/", "deep/er/"])
def test_zip_lists_images_in_any_parent_folder(tmp_path, top):
    names = ["a/images/a.png", "a/masks/1.png", "a/masks/0.png", "b/images/b.png"]
    ignored = ["__MACOSX/a/images/._a.png", "a/images/.DS_Store"]
    path = make_zip(tmp_path / "x.zip", [top + name for name in names] + ignored)
    assert open_form(path).list_images()[0] == [
        SourceImage("a", (f"{top}a/images/a.png",), (f"{top}a/masks/0.png", f"{top}a/masks/1.png")),
        SourceImage("b", (f"{top}b/images/b.png",), None),
    ]


@pytest.mark.parametrize(
    "name", ["../a/images/a.png", "/a/images/a.png", "a/../../images/a.png", "C:/a/images/a.png"]
)
def test_zip_with_unsafe_paths(tmp_path, name):
    path = make_zip(tmp_path / "x.zip", [name])
    with pytest.raises(InputError, match="unsafe path in the archive") as error:
        open_form(path).list_images()
    assert str(path) in str(error.value)


def test_zip_with_an_id_in_two_folders(tmp_path):
    path = make_zip(tmp_path / "x.zip", ["one/a/images/a.png", "two/a/images/a.png"])
    with pytest.raises(InputError, match="image id a is in two folders, 'one' and 'two'"):
        open_form(path).list_images()


def test_zip_with_a_file_twice(tmp_path):
    with pytest.warns(UserWarning, match="Duplicate name"):
        path = make_zip(tmp_path / "x.zip", ["a/images/a.png", "a/images/a.png"])
    with pytest.raises(InputError, match="a/images/a.png is in the archive twice"):
        open_form(path).list_images()


def test_zip_of_zips(tmp_path):
    path = make_zip(tmp_path / "all.zip", ["stage1_train.zip", "stage1_test.zip"])
    with pytest.raises(InputError, match=r"stage1_train\.zip"):
        open_form(path).list_images()


def test_damaged_zip(tmp_path):
    path = make_zip(tmp_path / "x.zip", ["a/images/a.png"])
    data = bytearray(path.read_bytes())
    position = data.index(b"a.pngx") + 5
    data[position] ^= 1
    path.write_bytes(data)
    with pytest.raises(InputError, match=r"x\.zip:a/images/a\.png"):
        open_files(path).read("a/images/a.png")
    path.write_bytes(data[: len(data) // 2])
    with pytest.raises(InputError, match="not a readable zip archive"):
        ZipFiles(path)


@pytest.mark.parametrize("offset", [0, 20])
def test_damaged_compressed_data(tmp_path, offset):
    with zipfile.ZipFile(tmp_path / "x.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a/images/a.png", b"some bytes that can be compressed" * 9)
    data = bytearray((tmp_path / "x.zip").read_bytes())
    position = data.index(b"a.png") + len(b"a.png") + offset
    data[position] ^= 0xFF
    (tmp_path / "x.zip").write_bytes(data)
    with pytest.raises(InputError, match=r"x\.zip:a/images/a\.png"):
        open_files(tmp_path / "x.zip").read("a/images/a.png")


def test_encrypted_archive(tmp_path):
    path = make_zip(tmp_path / "x.zip", ["a/images/a.png"])
    data = bytearray(path.read_bytes())
    data[data.index(b"PK\x01\x02") + 8] |= 1  # the flag "encrypted"
    path.write_bytes(data)
    with pytest.raises(InputError, match="encrypted.*unpack it"):
        open_files(path).read("a/images/a.png")


def test_missing_and_empty_folders(tmp_path):
    with pytest.raises(FileNotFoundError, match="no such file or folder"):
        open_form(tmp_path / "missing")
    with pytest.raises(InputError, match="no images in it"):
        open_form(tmp_path).list_images()
