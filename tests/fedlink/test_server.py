"""The server as a whole: its port, its health, its end."""

from __future__ import annotations

import pytest
from grpc_health.v1 import health_pb2

from hansa.fedlink import link_pb2 as pb
from hansa.fedlink.calls import SERVICE
from hansa.fedlink.errors import PortTaken
from hansa.fedlink.protocol import Desk
from hansa.fedlink.server import Server
from tests.devices import Raw, channel
from tests.fedlink.line import SECONDS, serving


def test_a_port_that_is_taken_and_an_address_that_is_not_here_are_told_in_one_line(plant, server, tmp_path):
    for address in (f"127.0.0.1:{server.port}", "192.0.2.1:8443"):
        with pytest.raises(PortTaken, match="another program has the port, or the address is not this machine's"):
            Server(desk=Desk(software="x"), address=address, folder=plant.folder, spool=tmp_path).__enter__()


def test_its_health_can_be_asked_for(server, plant):
    with channel(server.port, plant.ca, plant.side("bergen")) as line:
        request = health_pb2.HealthCheckRequest(service=SERVICE).SerializeToString()
        raw = line.unary_unary("/grpc.health.v1.Health/Check")(request, timeout=SECONDS)
    assert health_pb2.HealthCheckResponse.FromString(raw).status == health_pb2.HealthCheckResponse.SERVING


def test_clients_are_told_when_it_stops(plant, tmp_path):
    with serving(plant, tmp_path) as server:
        raw = Raw(channel(server.port, plant.ca, plant.side("bergen"))).hello()
        raw.until("welcome")
    assert raw.until("goodbye").code == pb.SHUTDOWN
    raw.close()
