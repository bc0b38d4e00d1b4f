"""A device stays whatever goes wrong: it ends by its owner, by a goodbye, or by its revocation."""

from __future__ import annotations

import asyncio
import errno
import os
import random
import time

import pytest

from hansa.fedclient.agent import Agent
from hansa.fedclient.place import Place
from hansa.fedlink import link_pb2 as pb
from hansa.fedlink.dial import Line
from hansa.fedlink.protocol import Backoff
from hansa.fedlink.protocol import effects as do
from tests.fleet import fleet, until

AT_ONCE = Backoff(least=0.01, most=0.01)


def agent(tmp_path, told: list[str], **more: object) -> Agent:
    place = Place(
        home=tmp_path, federation="f", address="127.0.0.1:1", client="riga", task={"name": "digits"}, insecure=True
    )
    return Agent(
        place=place,
        software="test",
        tell=told.append,
        clock=time.monotonic,
        wall=time.time,
        chance=random.Random(1),
        backoff=AT_ONCE,
        **more,
    )


@pytest.mark.parametrize("error", [asyncio.InvalidStateError("gone"), KeyError("x"), OSError(errno.ENOSPC, "full")])
def test_whatever_a_connection_raises_is_told_once_and_the_next_one_is_tried(tmp_path, monkeypatch, error):
    told, tries = [], []
    device = agent(tmp_path, told)

    async def hold(line: Line) -> None:
        tries.append(line)
        if len(tries) == 4:
            device.leave()
        raise error

    monkeypatch.setattr(Line, "hold", hold)
    asyncio.run(asyncio.wait_for(device.live(), 60))
    assert len(tries) == 4
    (line,) = told
    assert line.startswith(f"not connected: {type(error).__name__}: ")


def test_a_stream_that_grpc_gives_up_does_not_pass_for_the_owner_s_wish_to_end(tmp_path, monkeypatch):
    async def read(line: Line, stream: object) -> None:
        raise asyncio.CancelledError

    monkeypatch.setattr(Line, "_read", read)
    device = agent(tmp_path, told := [])
    why, welcomed = asyncio.run(asyncio.wait_for(device._tried(), 60))
    assert why == "ConnectionResetError: gRPC gave the stream up." and not welcomed and told == []


def test_a_disk_that_fills_on_the_last_piece_ends_the_request_and_not_the_device(tmp_path):
    device = agent(tmp_path, told := [])
    client = device._client
    client.start(0.0, 0.0)
    welcome = pb.Welcome(version=1, heartbeat_ms=15_000, chunk_bytes=2**20, open_requests=8)
    client.receive(pb.ServerFrame(welcome=welcome).SerializeToString(), 0.0)
    work = pb.Work(request_id="r/1.0/train/x", size=4, sha256=bytes(32))
    device._receive(pb.ServerFrame(work=work).SerializeToString())
    body = device._spool.folder("r/1.0/train/x") / "body"
    body.unlink()
    body.symlink_to("/dev/full")
    device._receive(pb.ServerFrame(chunk=pb.Chunk(request_id="r/1.0/train/x", data=b"1234")).SerializeToString())
    assert client.holds() == () and "No space left on device" in told[0]


def test_a_body_that_cannot_be_read_back_is_refused(tmp_path):
    device = agent(tmp_path, told := [])
    device._carry_out([do.BodyComplete(request_id="r", size=1, sha256=bytes(32))])
    assert "cannot be read" in told[0]


def test_a_certificate_that_cannot_be_read_for_a_while_is_told_once_and_ends_nothing(tmp_path):
    with fleet(tmp_path) as there:
        there.provision("cleveland")
        there.join("cleveland")
        there.start("serve", "serve", "plants", f"listen=127.0.0.1:{there.port}", "rounds=100000", "run_dir=run")
        until(lambda: "connected to" in there.log("cleveland"), lambda: there.log("cleveland"))
        certificate = tmp_path / "hansa-cleveland" / "client.pem"
        certificate.rename(away := certificate.with_suffix(".away"))
        until(lambda: "cannot read" in there.log("cleveland"), lambda: there.log("cleveland"))
        time.sleep(2.5)
        os.rename(away, certificate)
        there.kill("serve")
        there.start("serve", "serve", "plants", f"listen=127.0.0.1:{there.port}", "rounds=1", "run_dir=again")
        assert there.served()["failures"] == 0
        assert there.log("cleveland").count("cannot read") == 1


def test_a_coordinator_that_cancels_without_end_writes_little_into_the_device_s_log(tmp_path):
    device = agent(tmp_path, told := [])
    device.clock = lambda: 0.0
    device._client.start(0.0, 0.0)
    welcome = pb.Welcome(version=1, heartbeat_ms=15_000, chunk_bytes=2**20, open_requests=8)
    device._receive(pb.ServerFrame(welcome=welcome).SerializeToString())
    for number in range(1000):
        work = pb.Work(request_id=f"r/{number}.0/train/x", size=4, sha256=bytes(32))
        device._receive(pb.ServerFrame(work=work).SerializeToString())
        cancel = pb.Cancel(request_id=work.request_id, reason="\x1b[2J" * 200)
        device._receive(pb.ServerFrame(cancel=cancel).SerializeToString())
    assert len(told) < 15 and all(line.isprintable() for line in told)
    assert "cancelled" in told[-1]
