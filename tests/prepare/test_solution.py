import numpy as np
import pytest

from dsb2018.errors import InputError
from dsb2018.prepare.solution import Solution

HEADER = "ImageId,EncodedPixels,Height,Width,Usage\n"


def write(tmp_path, *rows):
    path = tmp_path / "stage1_solution.csv"
    path.write_text(HEADER + "".join(f"{row}\n" for row in rows))
    return path


def test_runs_are_column_major_and_count_from_1(tmp_path):
    # 4 rows × 3 columns: pixels 2 and 3 are in column 0, rows 1 and 2; 6 and 7 are to their right.
    path = write(tmp_path, "a,2 2 6 2,4,3,Public", "a,12 1,4,3,Public", "b,,4,3,Ignored")
    solution = Solution(path)
    assert solution.image_ids == {"a"}
    first, second = solution.crops("a", 4, 3)
    assert (first.box, first.area) == ([0, 1, 2, 2], 4)
    assert (second.box, second.area) == ([2, 3, 1, 1], 1)
    np.testing.assert_array_equal(first.mask, np.ones((2, 2), bool))


def test_image_without_nuclei(tmp_path):
    assert Solution(write(tmp_path, "a,,4,3,Public")).crops("a", 4, 3) == []


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("a,12 2,4,3,Public", r"csv:2: EncodedPixels has invalid runs, from pixel 12 to 13"),
        ("a,0 2,4,3,Public", "invalid runs"),
        ("a,3 0,4,3,Public", "invalid runs"),
        ("a,1 2 3,4,3,Public", "EncodedPixels has 3 numbers"),
        ("a,1 x,4,3,Public", "not whole numbers"),
        ("a,1 2,3,4,Public", "Height and Width of image a are 3×4 .the image has 4×3 pixels"),
        ("b,1 2,4,3,Public", "no row for image a"),
    ],
)
def test_invalid_rows(tmp_path, row, message):
    with pytest.raises(InputError, match=message):
        Solution(write(tmp_path, row)).crops("a", 4, 3)


def test_invalid_files(tmp_path):
    with pytest.raises(FileNotFoundError, match="no such regular file"):
        Solution(tmp_path / "missing.csv")
    path = tmp_path / "x.csv"
    path.write_text("ImageId,EncodedPixels\n")
    with pytest.raises(InputError, match=r"columns \['Height', 'Usage', 'Width'\] are missing"):
        Solution(path)
    path.write_bytes(HEADER.encode() + b"\xff\xfe\x00,1 1,4,3,Public\n")
    with pytest.raises(InputError, match="not a text file"):
        Solution(path)
