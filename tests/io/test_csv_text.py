import csv
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dsb2018.io.csv_text import quote_cell, read_rows, unquote_cell, write_rows


@pytest.mark.parametrize("text", ["=1+1", "+a", "-a", "@a", "\ta", "'=a", "''@a"])
def test_formulas_are_quoted(text):
    assert quote_cell(text) == f"'{text}"


@pytest.mark.parametrize("text", ["", "a", "a=b", "'a", "5", "'"])
def test_other_text_is_not_quoted(text):
    assert quote_cell(text) == text == unquote_cell(text)


@given(st.text())
def test_unquote_is_the_inverse_of_quote(text):
    assert unquote_cell(quote_cell(text)) == text


def test_written_rows_are_read_unchanged(tmp_path):
    path = tmp_path / "table.csv"
    with open(path, "w", newline="", encoding="utf-8") as file:
        write_rows(file, [["name", "number"], ["=cmd|x", -1.5], ['a "b", c', None]])
    with open(path, newline="", encoding="utf-8") as file:
        assert [row[0] for row in csv.reader(file)] == ["name", "'=cmd|x", 'a "b", c']
    assert list(read_rows(path)) == [
        {"name": "=cmd|x", "number": "-1.5"},
        {"name": 'a "b", c', "number": ""},
    ]


def test_numbers_are_not_quoted():
    file = io.StringIO()
    write_rows(file, [[-1, 2.5]])
    assert file.getvalue() == "-1,2.5\n"
