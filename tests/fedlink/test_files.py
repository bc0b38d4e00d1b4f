"""Small files: whole or not at all, secret at once, bounded, and one writer at a time."""

from __future__ import annotations

import os
import stat
import threading

import pytest

from hansa.fedlink.errors import FileError, InvitationError
from hansa.fedlink.files import checked, locked, make_folder, parse, read, replace


def test_a_file_is_replaced_as_a_whole_and_leaves_nothing_beside_it(tmp_path):
    path = tmp_path / "file"
    replace(path, b"old")
    with path.open("rb") as before:
        replace(path, b"new")
        assert before.read() == b"old" and path.read_bytes() == b"new"
    assert [*tmp_path.iterdir()] == [path]


@pytest.mark.parametrize("mask", [0o000, 0o022, 0o077])
def test_a_secret_is_made_with_its_mode_and_keeps_it_over_a_public_one(tmp_path, monkeypatch, mask):
    """The mode is given when the file is made, and a leftover with another mode is not written into."""
    modes = []
    opened = os.open
    monkeypatch.setattr(
        os, "open", lambda path, flags, mode=0o777: modes.append((flags, mode)) or opened(path, flags, mode)
    )
    monkeypatch.setattr(os, "chmod", None)
    path = tmp_path / "key"
    path.write_bytes(b"public")
    (tmp_path / f".key.{os.getpid()}.new").write_bytes(b"left over, for all to read")
    old = os.umask(mask)
    try:
        replace(path, b"secret", secret=True)
        make_folder(tmp_path / "folder")
    finally:
        os.umask(old)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE((tmp_path / "folder").stat().st_mode) == 0o700
    assert (os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600) in modes


def test_a_write_that_fails_keeps_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "file"
    replace(path, b"old")

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(FileError, match=r"cannot write .*file: No space left on device: free some space"):
        replace(path, b"new")
    assert path.read_bytes() == b"old" and [*tmp_path.iterdir()] == [path]


def test_what_is_missing_or_too_large_is_told(tmp_path):
    (tmp_path / "large").write_bytes(b"12345")
    assert read(tmp_path / "large", 5) == b"12345"
    with pytest.raises(FileError, match="more than 4 bytes"):
        read(tmp_path / "large", 4)
    with pytest.raises(InvitationError, match="No such file"):
        read(tmp_path / "none", 4, InvitationError)
    with pytest.raises(FileError, match="cannot make the folder"):
        make_folder(tmp_path / "large" / "folder")
    with pytest.raises(FileError, match="cannot lock"), locked(tmp_path / "none" / "file"):
        pass


def test_two_threads_do_not_hold_one_lock(tmp_path):
    order = []
    inside = threading.Event()

    def second() -> None:
        inside.wait(20)
        with locked(tmp_path / "book"):
            order.append("second")

    thread = threading.Thread(target=second)
    thread.start()
    with locked(tmp_path / "book"):
        inside.set()
        thread.join(0.2)
        order.append("first")
    thread.join(20)
    assert order == ["first", "second"]


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"\xff", "no JSON text"),
        (b"{", "no JSON text"),
        (b"[" * 100_000, "no JSON text"),
        (b'{"version": 1, "n": NaN, "t": ""}', "no JSON text"),
        (b'{"version": 1, "n": 1e999, "t": ""}', "n must be float or int"),
        (b'{"version": 1, "n": 1e300, "t": ""}', "n must be float or int"),
        (b'{"version": 1, "n": -1' + b"0" * 400 + b', "t": ""}', "n must be float or int"),
        (b'{"version": 1, "n": true, "t": ""}', "n must be float or int"),
        (b'{"version": 1, "n": 1, "t": null}', "t must be str"),
        (b'{"version": 1, "n": 1, "t": "\\ud800"}', "t must be str"),
        (b'{"version": 1, "n": 1}', "lacks 't'"),
        (b'{"version": 1, "n": 1, "t": "", "z": 0}', "unknown field 'z'"),
        (b'{"version": 2, "whatever": 1}', "is of version 2, this Hansa reads 1"),
        (b"[]", "not an object"),
    ],
)
def test_json_that_is_not_what_it_should_be(content, told):
    kinds = {"version": (int,), "n": (float, int), "t": (str,)}
    assert parse(b'{"version": 1, "n": 2, "t": "x"}', "it", kinds, FileError)["n"] == 2
    with pytest.raises(InvitationError, match=told):
        parse(content, "it", kinds, InvitationError)


def test_a_value_is_never_shown():
    with pytest.raises(FileError) as error:
        checked({"token": 12345}, "it", {"token": (str,)}, FileError)
    assert "12345" not in str(error.value)
