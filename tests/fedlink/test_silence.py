"""The coordinator knows who should have been heard of and was not."""

from __future__ import annotations

from dataclasses import replace

from hansa.fedlink import link_pb2 as pb
from hansa.fedlink.protocol import Desk


def test_a_client_is_silent_once_its_heartbeat_is_overdue_and_until_it_is_heard_again():
    desk = Desk(software="test")
    desk.limits = replace(desk.limits, heartbeat=4.0)
    session, _ = desk.connect("riga", 0, 0)
    session.receive(pb.ClientFrame(hello=pb.Hello(versions=[1])).SerializeToString(), 1)
    assert [desk.silence("riga", now) for now in (1, 7, 8.5)] == [0, 0, 7.5]
    session.receive(pb.ClientFrame(heartbeat=pb.Heartbeat()).SerializeToString(), 9)
    assert desk.silence("riga", 9) == desk.silence("bergen", 99) == 0
    session.closed(10)
    assert desk.silence("riga", 99) == 0, "it is gone, and not silent"
