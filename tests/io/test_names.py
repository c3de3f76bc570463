import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dsb2018.errors import UsageError
from dsb2018.io.names import (
    LONGEST,
    check_address,
    file_name,
    image_file_name,
    is_inside,
    printable,
)

ORDINARY = ["cell", "a b", "Zelle_ä", "image.tif", "x" * LONGEST, "=1+1", "細胞"]
UNSAFE = [
    "",
    ".",
    "..",
    "../x",
    "/etc/passwd",
    "a/b",
    "a\\b",
    "C:x",
    ".hidden",
    "x\0y",
    "a\nb",
    "...png",
]


@pytest.mark.parametrize("name", ORDINARY)
def test_ordinary_names_are_unchanged(name):
    assert file_name(name) == name


@pytest.mark.parametrize("name", [*UNSAFE, "x" * 4000, "ä" * 200])
def test_unsafe_names_become_one_visible_component(name, tmp_path):
    safe = file_name(name)
    path = tmp_path / f"{safe}.png"
    path.touch()
    assert [entry.name for entry in tmp_path.iterdir()] == [f"{safe}.png"]
    assert not safe.startswith(".")


@given(st.text(max_size=300))
def test_any_text_gives_a_safe_name(name):
    safe = file_name(name)
    assert os.path.basename(safe) == safe not in ("", ".", "..")
    assert len(safe.encode()) <= LONGEST
    assert file_name(safe) == safe


@given(st.lists(st.text(max_size=200), unique=True, max_size=20))
def test_different_names_stay_different(names):
    assert len({file_name(name) for name in names}) == len(names)


def test_name_of_a_dataset_image():
    assert image_file_name({"image_id": 7}) == "7"
    assert image_file_name({"image_id": 7, "dsb_id": "abc"}) == "abc"
    assert "/" not in image_file_name({"image_id": 7, "dsb_id": "../../evil"})


@pytest.mark.parametrize("path", ["a.png", "a/b.png", "a/..b/c", "..a"])
def test_paths_inside(path):
    assert is_inside(path)


@pytest.mark.parametrize(
    "path", ["", "/a", "..", "../a", "a/../../b", "C:/a", "a\\..\\..\\b", "a\0"]
)
def test_paths_outside(path):
    assert not is_inside(path)


@pytest.mark.parametrize("address", ["a.pth", "dsb2018://unet_light", "https://a.org/x/y.pth?a=1"])
def test_valid_addresses_of_weights(address):
    check_address(address)


@pytest.mark.parametrize(
    "address",
    [
        "http://a.org/../../../x.pth",
        "http://a.org/%2e%2e/%2e%2e/x.pth",
        "detectron2://x/../../../y",
        "dsb2018://../../x",
        "catalog://x",
        "foo://x.pth",
    ],
)
def test_invalid_addresses_of_weights_raise(address):
    with pytest.raises(UsageError, match="weights .*(unsafe path|expected a file)"):
        check_address(address)


def test_printable_text():
    assert printable("a\nb") == "a b"
    assert printable("bad\udcff.tif").encode() == "bad\ufffd.tif".encode()
