"""A table is read as it is meant, or refused with its file, its line and what to do."""

from __future__ import annotations

import os

import numpy as np
import pytest

from hansa.fedtasks import DataError, read_table

COLUMNS = {"age": None, "sick": {"no": 0.0, "yes": 1.0}}


@pytest.fixture
def write(tmp_path):
    def write(content):
        path = tmp_path / "ward.csv"
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return write


@pytest.mark.parametrize(
    "content",
    [
        "age,sick\n51,yes\n-2.5e1,no\n",
        "age,sick\r\n51,yes\r\n-25,no",
        "\ufeffage,sick\n51,yes\n\n-25,no\n\n",
        'id,sick,"age"\n"a, b",yes, 51\nn,no,"-25"\n',
    ],
)
def test_tables_are_read_in_the_order_of_the_columns_asked_for(write, content):
    table = read_table(write(content), COLUMNS)
    assert table.dtype == np.float64 and table.tolist() == [[51, 1], [-25, 0]]


def test_rows_with_missing_values_may_be_dropped(write):
    path = write("age,sick,note\n51,yes,\n,no,x\n40,,x\n")
    assert read_table(path, COLUMNS, drop_missing=True).tolist() == [[51, 1]]


@pytest.mark.parametrize(
    ("content", "line", "words"),
    [
        ("", None, "the file is empty"),
        ("\n\n", None, "the file is empty"),
        ("age,sick\n", None, "no complete row"),
        ("age,ill\n51,yes\n", 1, "there is no column 'sick' among the 2 of the header: give it one"),
        ("age;sick\n51;yes\n", 1, "there is no column 'age'"),
        ("age,sick,age\n51,yes,51\n", 1, "there are 2 columns 'age'"),
        ("age,sick\n51,yes\n52\n", 3, "1 values where the header has 2"),
        ("age,sick\n51,yes,7\n", 2, "3 values where the header has 2"),
        ("age,sick\n51,yes\n\nold,no\n", 4, "column 'age': the value is no number"),
        ("age,sick\n1_000,no\n", 2, "column 'age': the value is no number"),
        ("age,sick\nnan,no\n", 2, "column 'age': the value is not finite"),
        ("age,sick\n1e999,no\n", 2, "column 'age': the value is not finite"),
        ("age,sick\n51,maybe\n", 2, "column 'sick': the value is not one of no, yes"),
        ("age,sick\n51,\n", 2, "column 'sick': a value is missing"),
        ('age,sick\n51,"yes\n', 2, "this is no CSV"),
        ('age,sick\n"5"1,yes\n', 2, "this is no CSV"),
        ('age,sick\n"5\n1",yes\n', 3, r"column 'age': the value is no number"),
        (b"age,sick\n51,yes\n52,\xff\n", 3, "byte 0xff is not UTF-8"),
        (b"\xff\xfea\x00g\x00e\x00", 1, "not UTF-8"),
        (b"\x89PNG\r\n\x1a\n\x00\x00", 1, "not UTF-8"),
    ],
)
def test_what_is_wrong_is_named_with_its_file_and_line(write, content, line, words):
    path = write(content)
    with pytest.raises(DataError, match=words) as caught:
        read_table(path, COLUMNS)
    where = str(path) if line is None else f"{path}, line {line}"
    assert str(caught.value).startswith(f"{where}: ")
    assert "\n" not in str(caught.value)


def test_a_table_whose_rows_are_all_incomplete_is_refused(write):
    with pytest.raises(DataError, match="no complete row"):
        read_table(write("age,sick\n,yes\n"), COLUMNS, drop_missing=True)


def test_a_file_that_is_not_there_or_is_a_folder_is_refused(tmp_path):
    with pytest.raises(DataError, match=r"gone\.csv: cannot be read \(No such file"):
        read_table(tmp_path / "gone.csv", COLUMNS)
    with pytest.raises(DataError, match=r"cannot be read \(Is a directory\)"):
        read_table(str(tmp_path), COLUMNS)


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may read everything")
def test_a_file_without_permission_is_refused(write):
    path = write("age,sick\n51,yes\n")
    path.chmod(0)
    with pytest.raises(DataError, match=r"cannot be read \(Permission denied\)"):
        read_table(path, COLUMNS)
