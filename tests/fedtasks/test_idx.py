"""IDX files are read whole or refused with their name and what is wrong."""

from __future__ import annotations

import gzip

import numpy as np
import pytest

from hansa.fedtasks import DataError
from hansa.fedtasks.idx import read_idx

VALUES = np.arange(24, dtype=np.uint8).reshape(2, 3, 4)
WHOLE = bytes([0, 0, 8, 3]) + np.array(VALUES.shape, ">u4").tobytes() + VALUES.tobytes()


@pytest.mark.parametrize(("name", "raw"), [("plain", WHOLE), ("packed.gz", gzip.compress(WHOLE, mtime=0))])
def test_files_are_read_plain_and_packed(tmp_path, name, raw):
    (tmp_path / name).write_bytes(raw)
    assert np.array_equal(read_idx(tmp_path / name, 3), VALUES)


@pytest.mark.parametrize(
    ("name", "raw", "words"),
    [
        ("a", b"", "begins with nothing"),
        ("a", b"\0\0\x08", "begins with 00 00 08, not as an IDX file"),
        ("a", gzip.compress(WHOLE, mtime=0), "begins with 1f 8b 08 00"),
        ("a", WHOLE[:2] + b"\x0d" + WHOLE[3:], "type 13 in 3 dimensions where bytes .type 8. in 3 are due"),
        ("a", WHOLE[:3] + b"\x01" + WHOLE[4:], "type 8 in 1 dimensions where"),
        ("a", WHOLE[:10], "has 10 bytes where the header alone takes 16"),
        ("a", WHOLE[:-1], r"has 39 bytes where its header says 16 \+ 2 x 3 x 4: fetch the file again"),
        ("a", WHOLE + b"\0", "has 41 bytes"),
        ("a", WHOLE[:4] + b"\xff" * 12, "has 16 bytes where its header says"),
        ("a.gz", WHOLE, "is no whole gzip file"),
        ("a.gz", gzip.compress(WHOLE, mtime=0)[:-12], "is no whole gzip file"),
        ("a.gz", gzip.compress(WHOLE, mtime=0)[:12] + b"\xff" * 20, "is no whole gzip file"),
    ],
)
def test_what_is_wrong_is_named(tmp_path, name, raw, words):
    path = tmp_path / name
    path.write_bytes(raw)
    with pytest.raises(DataError, match=words) as caught:
        read_idx(path, 3)
    assert str(caught.value).startswith(f"{path}: ") and "\n" not in str(caught.value)


def test_a_file_that_cannot_be_opened_is_named(tmp_path):
    with pytest.raises(DataError, match="Is a directory"):
        read_idx(tmp_path, 3)
