"""Who is let in and who is not: real gRPC and real certificates on loopback."""

from __future__ import annotations

import os
import socket
import ssl
import subprocess
import sys
import time

import numpy as np
import pytest

from hansa.fedlink import link_pb2 as pb
from hansa.fedlink.authority import DAY, new_root
from hansa.fedlink.certificates import read_peer
from hansa.fedlink.door import Door, TurnedAway, certified
from hansa.fedlink.protocol import effects as do
from hansa.fedlink.revocation import revoke
from hansa.fedlink.service import Barred
from tests.devices import Raw, channel
from tests.fedlink.line import SECONDS, event, goodbye, invitation, refused, serving, works
from tests.identities import Side, client_side, pem


def test_no_certificate_and_another_authority_are_refused_by_tls_and_others_go_on(server, plant):
    stranger = new_root("plant", time.time())
    other = client_side(stranger, time.time(), "bergen")
    refused(lambda: channel(server.port, plant.ca))
    refused(lambda: channel(server.port, plant.ca, other))
    refused(lambda: channel(server.port, pem(stranger), plant.side("bergen")))
    works(server, plant)


def test_a_certificate_that_has_expired_is_refused_by_tls(server, plant):
    now = time.time()
    refused(lambda: channel(server.port, plant.ca, client_side(plant.issuer, now - 10 * DAY, "bergen", 5 * DAY)))
    works(server, plant)


def test_a_certificate_that_expires_in_mid_session_ends_it_and_the_client_may_come_back(server, plant):
    raw = Raw(channel(server.port, plant.ca, plant.side("bergen", 4.0))).hello()
    raw.until("welcome")
    said = raw.until("goodbye")
    raw.close()
    assert said.code == pb.SHUTDOWN and "was good until" in said.text


def test_a_client_that_is_gone_and_then_revoked_is_not_waited_for(server, plant):
    side = plant.side("bergen")
    raw = Raw(channel(server.port, plant.ca, side)).hello()
    raw.until("welcome")
    raw.close()
    event(server, do.Dropped)
    peer = read_peer(side.chain)
    revoke(plant.folder.revocations().path, [peer.serial], "bergen", time.time())
    assert "'bergen' is revoked" in event(server, Barred).text


def test_a_revoked_client_is_cut_in_mid_session_and_not_let_in_again(server, plant):
    side = plant.side("bergen")
    raw = Raw(channel(server.port, plant.ca, side)).hello()
    raw.until("welcome")
    peer = read_peer(side.chain)
    revoke(plant.folder.revocations().path, [peer.serial], "bergen", time.time())
    start = time.monotonic()
    said = raw.until("goodbye")
    raw.close()
    assert said.code == pb.REVOKED and "'bergen' is revoked" in said.text and time.monotonic() - start < 5
    assert event(server, do.Dropped).name == "bergen"
    assert goodbye(server, plant, side).code == pb.REVOKED
    works(server, plant)


def test_a_list_that_cannot_be_read_lets_nobody_in(server, plant):
    path = plant.folder.revocations().path
    path.write_text("no list\n")
    said = goodbye(server, plant, plant.side("bergen"))
    assert said.code == pb.SHUTDOWN and "lets nobody in" in said.text
    path.write_text("")
    works(server, plant)


def test_an_invitation_opens_no_session_and_a_servers_certificate_neither(server, plant):
    said = goodbye(server, plant, invitation(plant, "bergen"))
    assert said.code == pb.REFUSED and "enrol first" in said.text
    key, chain, _ = plant.folder.credentials()
    refused(lambda: channel(server.port, plant.ca, Side(chain, key)))


def test_names_are_said_on_an_insecure_loopback_only(tmp_path):
    with serving(None, tmp_path) as server:
        works(server, None)
        raw = Raw(channel(server.port, None)).hello()
        assert raw.until("goodbye").code == pb.REFUSED
        raw.close()


def test_plain_text_and_random_bytes_at_the_tls_port_harm_nothing(server, plant):
    refused(lambda: channel(server.port, None))
    for seed in range(20):
        with socket.create_connection(("127.0.0.1", server.port), SECONDS) as plain:
            plain.sendall(np.random.default_rng(seed).bytes(1000))
    works(server, plant)


ALONE = """
import sys
from pathlib import Path
from hansa.fedlink.folder import ServerFolder
from hansa.fedlink.protocol import Desk
from hansa.fedlink.revocation import revoke
from hansa.fedlink.server import Server
with Server(desk=Desk(software="x"), address="127.0.0.1:0", folder=ServerFolder(path=Path(sys.argv[1]))) as server:
    print(server.port, flush=True)
    sys.stdin.read()
"""


@pytest.mark.parametrize(("version", "let_in"), [(ssl.TLSVersion.TLSv1_2, False), (ssl.TLSVersion.TLSv1_3, True)])
def test_tls_1_2_is_refused(plant, tmp_path, version, let_in):
    """In a process of its own, for gRPC reads once which ciphers there are."""
    context = plant.side("bergen").context(tmp_path, ssl.Purpose.SERVER_AUTH, plant.ca)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.maximum_version = version
    context.set_alpn_protocols(["h2"])
    command = [sys.executable, "-c", ALONE, str(plant.folder.path)]
    clean = {name: value for name, value in os.environ.items() if not name.startswith("GRPC_")}
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=clean) as alone:
        assert alone.stdin is not None and alone.stdout is not None
        address = ("127.0.0.1", int(alone.stdout.readline()))
        with socket.create_connection(address, SECONDS) as plain:
            if let_in:
                with context.wrap_socket(plain, server_hostname="127.0.0.1") as secure:
                    assert secure.version() == "TLSv1.3"
            else:
                with pytest.raises((ssl.SSLError, ConnectionError)):
                    context.wrap_socket(plain, server_hostname="127.0.0.1")
        alone.stdin.close()


def test_the_door_looks_at_the_version_too(plant):
    class Told:
        def __init__(self, version: bytes) -> None:
            self.told = {"ssl_tls_version": [version], "x509_pem_cert": [plant.side("bergen").chain]}

        def auth_context(self):
            return self.told

        def invocation_metadata(self):
            return ()

    assert certified(Told(b"TLSv1.3")).name == "bergen"
    for version in (b"TLSv1.2", b""):
        with pytest.raises(TurnedAway, match=r"not TLS 1\.3"):
            Door(revocations=plant.folder.revocations()).admit(Told(version), time.time())


def test_grpc_tells_the_version_under_the_name_that_the_door_reads(plant, tmp_path, monkeypatch):
    seen = {}
    admit = Door.admit

    def look(self, context, now):
        seen.update(context.auth_context())
        return admit(self, context, now)

    monkeypatch.setattr(Door, "admit", look)
    with serving(plant, tmp_path) as server:
        works(server, plant)
    assert seen["ssl_tls_version"] == [b"TLSv1.3"]
