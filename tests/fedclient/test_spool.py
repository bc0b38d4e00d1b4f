"""What a device keeps survives its process, and half of an answer is none."""

from __future__ import annotations

import hashlib
import shutil

import pytest

from hansa.fedclient.spool import Spool, lay
from hansa.fedlink.errors import FileError
from hansa.fedlink.protocol import Answer

BODY = bytes(range(256)) * 40
SHA256 = hashlib.sha256(BODY).digest()
ID = "run/1.0/train.update/../../etc"


def fill(spool: Spool, upto: int = len(BODY), start: int = 0) -> None:
    for at in range(start, upto, 1000):
        spool.store(ID, at, memoryview(BODY)[at : min(at + 1000, upto)])


def finish(spool: Spool, body: bytes = b"row", head: bytes = b"{}") -> None:
    folder = spool.order(ID, b"work")
    (folder / "reply.body").write_bytes(body)
    lay(folder / "reply.head", hashlib.sha256(body).digest() + head)


def test_a_body_goes_on_in_another_process_where_it_was(tmp_path):
    first = Spool(root=tmp_path)
    assert first.held() == []
    first.start(ID, len(BODY), SHA256)
    fill(first, 4000)
    second = Spool(root=tmp_path)
    (held,) = second.held()
    assert (held.request_id, held.size, held.sha256, held.stored, held.answer) == (ID, len(BODY), SHA256, 4000, None)
    fill(second, start=4000)
    assert second.whole(ID, SHA256) and not second.whole(ID, b"another")
    assert (second.folder(ID) / "body").read_bytes() == BODY


def test_a_body_of_one_connection_is_as_tls_brought_it_and_of_two_it_is_hashed(tmp_path):
    spool = Spool(root=tmp_path)
    spool.start(ID, len(BODY), SHA256)
    fill(spool, 4000)
    assert spool.whole(ID, SHA256), "not hashed"
    spool.torn()
    assert not spool.whole(ID, SHA256)
    fill(spool, start=4000)
    assert spool.whole(ID, SHA256)
    (spool.folder(ID) / "body").write_bytes(b"\0" * len(BODY))
    assert not spool.whole(ID, SHA256)
    spool.start(ID, len(BODY), SHA256)
    assert (spool.folder(ID) / "body").stat().st_size == 0, "it begins anew"


def test_a_body_for_which_the_disk_has_no_room_is_refused_before_it_comes(tmp_path):
    spool, half = Spool(root=tmp_path), shutil.disk_usage(tmp_path).free * 6 // 10
    with pytest.raises(OSError, match="No space left on device"):
        spool.start(ID, 2**62, SHA256)
    assert not list(tmp_path.iterdir())
    spool.start(ID, half, SHA256)
    with pytest.raises(OSError, match="No space left on device"):
        spool.start("other", half, SHA256)
    spool.drop(ID)
    spool.start("other", half, SHA256)


def test_an_answer_is_there_once_its_head_is(tmp_path):
    spool = Spool(root=tmp_path)
    folder = spool.order(ID, b"work")
    (folder / "reply.body").write_bytes(b"half of a r")
    (held,) = Spool(root=tmp_path).held()
    assert held.answer is None, "a worker that died in between has not answered"
    finish(spool, b"row")
    (held,) = Spool(root=tmp_path).held()
    assert held.answer == spool.answer(ID) == Answer(head=b"{}", size=3, sha256=hashlib.sha256(b"row").digest())
    assert [*spool.pieces(ID, 1, 1)] == [(1, b"o"), (2, b"w")]
    finish(spool, b"")
    assert spool.answer(ID) == Answer(head=b"{}")


def test_an_answer_that_a_power_failure_spoilt_is_none(tmp_path):
    spool = Spool(root=tmp_path)
    finish(spool, b"row")
    (spool.folder(ID) / "reply.body").write_bytes(b"\0\0\0")
    assert Spool(root=tmp_path).held() == [] and not list(tmp_path.iterdir())


@pytest.mark.parametrize("broken", ["body", "reply.body"])
def test_what_of_a_request_cannot_be_read_is_thrown_away(tmp_path, broken):
    spool = Spool(root=tmp_path)
    finish(spool)
    path = spool.folder(ID) / broken
    path.unlink()
    path.symlink_to(path.name)  # which nobody can follow
    assert Spool(root=tmp_path).held() == [] and not list(tmp_path.iterdir())


def test_a_spool_that_cannot_be_read_is_told_in_one_line(tmp_path):
    (tmp_path / "spool").write_text("a file")
    with pytest.raises(FileError, match="cannot make the folder"):
        Spool(root=tmp_path / "spool").held()


def test_work_that_is_ordered_again_has_no_answer_of_before(tmp_path):
    spool = Spool(root=tmp_path)
    finish(spool)
    spool.order(ID, b"work")
    with pytest.raises(OSError):
        spool.answer(ID)


def test_ids_are_no_paths_and_what_cannot_be_read_is_thrown_away(tmp_path):
    spool = Spool(root=tmp_path / "spool")
    spool.held()
    finish(spool)
    assert {path.parent for path in (tmp_path / "spool").iterdir()} == {tmp_path / "spool"}
    (spool.folder(ID) / "about.json").write_text("{")
    (tmp_path / "spool" / "empty").mkdir()
    assert spool.held() == [] and not list((tmp_path / "spool").iterdir())
    finish(spool)
    spool.drop(ID)
    spool.drop(ID)
    assert spool.held() == []
