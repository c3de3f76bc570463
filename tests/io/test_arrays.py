import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from dsb2018.io.arrays import read_array


@given(
    hnp.arrays(
        st.sampled_from([np.uint8, np.int32, np.float32]),
        hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=5),
    ),
    st.booleans(),
)
def test_saved_arrays_are_read_unchanged(tmp_path_factory, array, is_fortran):
    path = tmp_path_factory.mktemp("arrays") / "a.npy"
    np.save(path, np.asfortranarray(array) if is_fortran else array)
    values = read_array(path)
    assert values.dtype == array.dtype
    np.testing.assert_array_equal(values, array)


def to_npy(array) -> bytes:
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def huge_header() -> bytes:
    """A small file whose header claims an array of 10^18 bytes."""
    file = io.BytesIO()
    header = {"descr": "|u1", "fortran_order": False, "shape": (10**9, 10**9)}
    np.lib.format.write_array_header_1_0(file, header)
    return file.getvalue()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "not an .npy file"),
        (b"noise" * 50, "not an .npy file"),
        (to_npy(np.zeros((3, 4)))[:-1], "bytes of values, expected"),
        (to_npy(np.zeros(3)) + b"x", "bytes of values, expected"),
        (huge_header(), "bytes of values, expected"),
        (to_npy(np.array([{}], object)), "Python objects"),
        (to_npy(np.zeros(3))[:30], "not an .npy file"),
    ],
)
def test_damaged_files_raise(tmp_path, content, message):
    path = tmp_path / "a.npy"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=rf"a\.npy: .*{message}"):
        read_array(path)


def test_missing_file_raises(tmp_path):
    with pytest.raises(FileNotFoundError):
        read_array(tmp_path / "none.npy")
