"""Clients that misbehave or are unlucky harm nobody but themselves: real gRPC on loopback."""

from __future__ import annotations

import errno
import hashlib
import time
from pathlib import Path

import grpc
import pytest

from hansa.fedlink import link_pb2 as pb
from hansa.fedlink import service
from hansa.fedlink.authority import DAY
from hansa.fedlink.incoming import Incoming
from hansa.fedlink.packing import Body
from hansa.fedlink.protocol import Work
from hansa.fedlink.protocol import effects as do
from hansa.fedlink.protocol.wire import write_chunk
from hansa.fedlink.server import Server
from hansa.fedlink.service import Arrived
from tests.devices import Plant, Raw, channel
from tests.fedlink.line import MODEL, SECONDS, event, sha256, works


def opened(server: Server, plant: Plant, name: str, limit: int = 4000, size: int = 0) -> tuple[Raw, pb.Work]:
    """A device with one open request whose body it has."""
    raw = Raw(channel(server.port, plant.ca, plant.side(name))).hello()
    raw.until("welcome")
    model = MODEL[:size]
    body, known = Body((model,)), sha256(model) if size else b""
    work = Work(request_id=f"{name}/1", size=model.nbytes, sha256=known, answer_limit=limit)
    server.submit(name, work, body)
    return raw, raw.until("work")


def offer(work: pb.Work, row: bytes) -> dict[str, pb.Offer]:
    return {"offer": pb.Offer(request_id=work.request_id, size=len(row), sha256=hashlib.sha256(row).digest())}


@pytest.mark.parametrize(
    ("frame", "told"),
    [
        (lambda work: write_chunk(work.request_id, 1, b"xx"), "at byte 1 where 0 is next"),
        (lambda work: write_chunk(work.request_id, 0, b"x" * 100), "ends at byte 100 of a body of 10"),
        (lambda work: write_chunk("other/1", 0, b"x"), "not asked for"),
        (lambda work: b"\x2a" + b"\xff" * 2**20, "not protobuf"),
        (lambda work: pb.ClientFrame().SerializeToString(), "of a kind"),
        (lambda work: pb.ClientFrame(hello=pb.Hello()).SerializeToString(), "a second Hello"),
    ],
    ids=["out of order", "larger than announced", "another request", "no protobuf", "no kind", "hello again"],
)
def test_a_frame_that_makes_no_sense_ends_that_session_and_no_other(server, plant, frame, told):
    raw, work = opened(server, plant, "liar")
    raw.send(**offer(work, b"0123456789"))
    raw.until("send")
    raw.raw(frame(work))
    said = raw.until("goodbye")
    raw.close()
    assert said.code == pb.PROTOCOL and told in said.text and "install the same hansa" in said.text
    works(server, plant)


def test_a_frame_over_the_size_limit_ends_the_stream(server, plant):
    raw, _ = opened(server, plant, "liar")
    raw.raw(b"\x2a" + bytes(8 * 2**20))
    with pytest.raises(grpc.RpcError):
        raw.until("goodbye")
    raw.close()
    works(server, plant)


def test_another_version_is_told_both_sides_versions(server, plant):
    raw = Raw(channel(server.port, plant.ca, plant.side("old"))).send(hello=pb.Hello(versions=[7, 9]))
    said = raw.until("goodbye")
    raw.close()
    assert said.code == pb.VERSION and "7" in said.text and "1" in said.text


def test_a_clock_that_is_a_day_off_is_told_and_the_session_goes_on(server, plant):
    raw = Raw(channel(server.port, plant.ca, plant.side("late")))
    raw.send(hello=pb.Hello(versions=[1], clock_ms=round((time.time() - DAY) * 1000)))
    raw.until("welcome")
    raw.close()
    assert "client 'late' is 24.0 h behind the coordinator's" in event(server, do.Notice).text


def test_the_newer_of_two_connections_of_one_name_wins(server, plant):
    first = Raw(channel(server.port, plant.ca, plant.side("twin"))).hello()
    first.until("welcome")
    second = Raw(channel(server.port, plant.ca, plant.side("twin"))).hello()
    second.until("welcome")
    assert first.until("goodbye").code == pb.REPLACED
    assert server.desk.connected() == ("twin",)
    first.close()
    second.close()


def test_an_upload_that_breaks_off_goes_on_where_it_was(server, plant):
    row = MODEL.tobytes()[: 3 * 65_536]
    raw, work = opened(server, plant, "torn", limit=len(row))
    raw.send(**offer(work, row))
    assert raw.until("send").offset == 0
    raw.raw(write_chunk(work.request_id, 0, row[:65_536]))
    end = time.monotonic() + SECONDS
    while server.desk.find("torn", work.request_id).stored < 65_536 and time.monotonic() < end:
        time.sleep(0.01)
    raw.close()
    again = Raw(channel(server.port, plant.ca, plant.side("torn"))).hello()
    work = again.until("work")
    again.send(**offer(work, row))
    start = again.until("send").offset
    assert start == 65_536, "what was stored is not sent again"
    again.raw(write_chunk(work.request_id, start, row[start:]))
    arrived = event(server, Arrived)
    arrived.file.seek(0)
    assert arrived.file.read() == row
    arrived.close()
    server.finish(work.request_id)
    assert again.until("done").request_id == work.request_id
    again.close()


def test_an_answer_with_a_wrong_hash_is_asked_for_again_and_in_the_end_refused(server, plant):
    raw, work = opened(server, plant, "liar")
    raw.send(offer=pb.Offer(request_id=work.request_id, size=10, sha256=b"0" * 32))
    for _ in range(3):
        assert raw.until("send").offset == 0
        raw.raw(write_chunk(work.request_id, 0, b"0123456789"))
    failed = event(server, do.Failed)
    assert (failed.name, "damaged 3 times" in failed.text) == ("liar", True)
    raw.close()


def test_a_full_disk_costs_one_answer_and_no_other(server, plant, monkeypatch, tmp_path):
    store = Incoming.store

    def full(self, offset, data):
        if bytes(data) == b"0123456789":
            raise OSError(errno.ENOSPC, "No space left on device")
        store(self, offset, data)

    monkeypatch.setattr(Incoming, "store", full)
    raw, work = opened(server, plant, "unlucky")
    raw.send(**offer(work, b"0123456789"))
    raw.until("send")
    raw.raw(write_chunk(work.request_id, 0, b"0123456789"))
    assert event(server, do.Failed).text == f"the coordinator cannot store it in {tmp_path}: No space left on device"
    works(server, plant)
    raw.close()


class Full:
    def __init__(self, folder: Path) -> None:
        raise OSError(errno.EMFILE, "Too many open files")


def test_an_answer_for_which_no_file_can_be_made_costs_itself_and_no_other(server, plant, monkeypatch, tmp_path):
    raw, work = opened(server, plant, "unlucky")
    with monkeypatch.context() as patched:
        patched.setattr(service, "Incoming", Full)
        raw.send(**offer(work, b"0123456789"))
        assert event(server, do.Failed).text == f"the coordinator cannot store it in {tmp_path}: Too many open files"
    works(server, plant)
    raw.close()


def resident() -> float:
    status = Path("/proc/self/status").read_text()
    return int(next(line for line in status.splitlines() if line.startswith("VmRSS")).split()[1]) / 1000


def test_who_sends_for_ever_and_never_reads_is_held_up_and_others_go_on(server, plant):
    raw, work = opened(server, plant, "endless", size=len(MODEL))
    before = resident()
    want = pb.ClientFrame(want=pb.Want(request_id=work.request_id)).SerializeToString()
    for _ in range(20_000):
        raw.raw(want)
    for name in ("honest", "also honest"):
        works(server, plant, name)
    assert resident() - before < 150
    raw.close()


def test_ten_clients_that_read_nothing_do_not_hold_up_the_others(server, plant):
    slow = [opened(server, plant, f"slow{i}", size=len(MODEL)) for i in range(10)]
    for raw, work in slow:
        raw.send(want=pb.Want(request_id=work.request_id))
    works(server, plant)
    for raw, _ in slow:
        raw.close()
