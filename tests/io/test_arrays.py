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
def test_arrays_come_back(tmp_path_factory, array, is_fortran):
    path = tmp_path_factory.mktemp("arrays") / "a.npy"
    np.save(path, np.asfortranarray(array) if is_fortran else array)
    read = read_array(path)
    assert read.dtype == array.dtype
    np.testing.assert_array_equal(read, array)


def npy(array) -> bytes:
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def huge_header() -> bytes:
    """A file of some bytes that claims to hold 10^18 of them."""
    file = io.BytesIO()
    header = {"descr": "|u1", "fortran_order": False, "shape": (10**9, 10**9)}
    np.lib.format.write_array_header_1_0(file, header)
    return file.getvalue()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "not an .npy file"),
        (b"noise" * 50, "not an .npy file"),
        (npy(np.zeros((3, 4)))[:-1], "another number of bytes"),
        (npy(np.zeros(3)) + b"x", "another number of bytes"),
        (huge_header(), "another number of bytes"),
        (npy(np.array([{}], object)), "Python objects"),
        (npy(np.zeros(3))[:30], "not an .npy file"),
    ],
)
def test_damaged_files(tmp_path, content, message):
    path = tmp_path / "a.npy"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=rf"a\.npy: .*{message}"):
        read_array(path)


def test_missing_file(tmp_path):
    with pytest.raises(FileNotFoundError):
        read_array(tmp_path / "none.npy")
