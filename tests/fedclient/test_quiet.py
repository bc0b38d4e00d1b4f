"""A coordinator writes little into a device's log, however often it causes a line."""

from __future__ import annotations

import random
import time

from hansa.fedclient.agent import Agent
from hansa.fedclient.place import Place
from hansa.fedlink import link_pb2 as pb


def test_a_coordinator_that_cancels_without_end_writes_little_into_the_device_s_log(tmp_path):
    told: list[str] = []
    place = Place(home=tmp_path, federation="f", address="127.0.0.1:1", client="riga", task={"name": "digits"})
    device = Agent(
        place=place,
        software="test",
        tell=told.append,
        clock=lambda: 0.0,
        wall=time.time,
        chance=random.Random(1),
    )
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
