"""The server as a whole: its port, its health, its end."""

from __future__ import annotations

import json
import os
import time

import pytest
from grpc_health.v1 import health_pb2

from hansa.fedlink import link_pb2 as pb
from hansa.fedlink.authority import DAY
from hansa.fedlink.calls import SERVICE
from hansa.fedlink.errors import FileError, PortTaken
from hansa.fedlink.protocol import Desk
from hansa.fedlink.protocol.effects import Notice
from hansa.fedlink.server import Server
from tests.devices import Raw, channel
from tests.fedlink.line import SECONDS, event, serving
from tests.identities import Device, server_side


def test_a_port_that_is_taken_and_an_address_that_is_not_here_are_told_in_one_line(plant, server, tmp_path):
    for address in (f"127.0.0.1:{server.port}", "192.0.2.1:8443"):
        with pytest.raises(PortTaken, match="another program has the port, or the address is not this machine's"):
            Server(desk=Desk(software="x"), address=address, folder=plant.folder, spool=tmp_path).__enter__()


def test_its_health_can_be_asked_for(server, plant):
    with channel(server.port, plant.ca, plant.side("bergen")) as line:
        request = health_pb2.HealthCheckRequest(service=SERVICE).SerializeToString()
        raw = line.unary_unary("/grpc.health.v1.Health/Check")(request, timeout=SECONDS)
    assert health_pb2.HealthCheckResponse.FromString(raw).status == health_pb2.HealthCheckResponse.SERVING


def test_a_clock_that_is_behind_what_was_signed_is_told_with_by_how_much(plant, tmp_path):
    """The device's side of it is in test_dial: TLS itself tells nobody."""
    now = time.time()
    assert plant.folder.behind(now) is None and plant.folder.behind(now - 200) is None
    plant.folder.registrar(plant.issuer).sign(Device(name="bergen").request(), now)
    os.utime(plant.folder.path / "tokens.json", (now + 3 * DAY, now + 3 * DAY))
    with serving(plant, tmp_path) as server:
        told = event(server, Notice).text
    assert "this coordinator's clock says" in told and "the clock is 3.0 days behind, or more" in told
    os.utime(plant.folder.path / "tokens.json", (now, now))
    plant.folder.chain.write_bytes(server_side(plant.root, now + 5 * DAY).chain)
    assert "is 5.0 days behind" in (plant.folder.behind(now) or "")


@pytest.mark.parametrize("days", [0, -1e15, 3651, 1e15])
def test_days_that_mean_nothing_are_refused_before_anything_is_signed(plant, days):
    path = plant.folder.path / "federation.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "valid_days": days}))
    with pytest.raises(FileError, match="valid_days must be above 0, and 3,650 at most"):
        plant.folder.federation()


def test_clients_are_told_when_it_stops(plant, tmp_path):
    with serving(plant, tmp_path) as server:
        raw = Raw(channel(server.port, plant.ca, plant.side("bergen"))).hello()
        raw.until("welcome")
    assert raw.until("goodbye").code == pb.SHUTDOWN
    raw.close()
