"""Who is let in, who is not, and what misbehaves: real gRPC and real certificates on loopback."""

from __future__ import annotations

import errno
import hashlib
import os
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import grpc
import numpy as np
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from grpc_health.v1 import health_pb2

from hansa.fedlink import link_pb2 as pb
from hansa.fedlink.authority import DAY, new_root
from hansa.fedlink.certificates import INVITATION, key_pem, new_key, read_peer
from hansa.fedlink.door import Door, TurnedAway, certified
from hansa.fedlink.errors import PortTaken
from hansa.fedlink.incoming import Incoming
from hansa.fedlink.packing import Body
from hansa.fedlink.protocol import Desk, Limits, Work
from hansa.fedlink.protocol import effects as do
from hansa.fedlink.protocol.wire import write_chunk
from hansa.fedlink.revocation import revoke
from hansa.fedlink.server import Server
from hansa.fedlink.service import SERVICE, Arrived
from hansa.fedlink.tokens import Entry, token_hash
from tests.devices import Caller, Plant, Raw, channel
from tests.identities import Device, Side, client_side, pem

SECONDS = 20
MODEL = np.arange(300_000, dtype=np.float32)


@pytest.fixture
def plant(tmp_path: Path) -> Plant:
    return Plant.make(tmp_path / "server")


@contextmanager
def serving(plant: Plant | None, spool: Path, **limits: float) -> Iterator[Server]:
    desk = Desk(software="test", run="run", limits=Limits(**limits))  # type: ignore[arg-type]
    folder = None if plant is None else plant.folder
    with Server(desk=desk, address="127.0.0.1:0", folder=folder, spool=spool) as server:
        yield server


@pytest.fixture
def server(plant, tmp_path):
    with serving(plant, tmp_path) as one:
        yield one


def event(server: Server, kind: type, seconds: float = SECONDS):
    """The next event of a kind."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        found = server.events.get(timeout=max(0.01, end - time.monotonic()))
        if isinstance(found, kind):
            return found
    raise AssertionError(f"no {kind.__name__} came")


def goodbye(server: Server, plant: Plant, side: Side) -> pb.Goodbye:
    """What a device that says Hello is told, where it is not let in."""
    raw = Raw(channel(server.port, plant.ca, side)).hello()
    try:
        return raw.until("goodbye")
    finally:
        raw.close()


def refused(connect: Callable[[], grpc.Channel]) -> str:
    """What gRPC says where there is not even a stream."""
    raw = Raw(connect()).hello()
    with pytest.raises(grpc.RpcError) as failed:
        raw.next()
    raw.close()
    assert failed.value.code() == grpc.StatusCode.UNAVAILABLE
    return failed.value.details() or ""


def works(server: Server, plant: Plant, name: str = "honest") -> None:
    """The server still serves others: a request goes out and its answer comes back."""
    caller = Caller.of(server.port, name, lambda head, body: (head, body[:4000]), plant).call()
    work = Work(request_id=f"{name}/1", head=b"h", size=MODEL.nbytes, sha256=sha256(MODEL), answer_limit=4000)
    server.submit(name, work, Body((MODEL,)))
    arrived = event(server, Arrived)
    assert arrived.file.seek(0) == 0 and arrived.file.read() == MODEL.tobytes()[:4000]
    arrived.close()
    server.finish(work.request_id)
    caller.drop()


def sha256(array: np.ndarray) -> bytes:
    return hashlib.sha256(array.tobytes()).digest()


# Who is let in


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


def invitation(plant: Plant, name: str, seconds: float = DAY) -> Side:
    key = new_key()
    return Side(
        plant.issuer.pem(plant.issuer.leaf(INVITATION, name, key.public_key(), time.time(), seconds)), key_pem(key)
    )


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
    with pytest.raises(TurnedAway, match=r"not TLS 1\.3"):
        Door(revocations=plant.folder.revocations()).admit(Told(b"TLSv1.2"), time.time())


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


# Certificates


def ask(server: Server, plant: Plant, side: Side, method: str, request: bytes) -> pb.EnrolReply:
    with channel(server.port, plant.ca, side) as line:
        raw = line.unary_unary(f"/{SERVICE}/{method}")(request, timeout=SECONDS)
    return pb.EnrolReply.FromString(raw)


def denied(server: Server, plant: Plant, side: Side, method: str, request: bytes) -> tuple[grpc.StatusCode, str]:
    with pytest.raises(grpc.RpcError) as failed:
        ask(server, plant, side, method, request)
    assert "\n" not in failed.value.details()
    return failed.value.code(), failed.value.details()


def invited(plant: Plant, name: str, token: str, seconds: float = DAY) -> None:
    with plant.folder.book().writing() as entries:
        entries[name] = Entry(token=token_hash(token), expires=time.time() + seconds, invitation="1")


def enrolment(device: Device, token: str) -> bytes:
    request = x509.load_pem_x509_csr(device.request()).public_bytes(Encoding.DER)
    return pb.EnrolRequest(token=token, signing_request=request).SerializeToString()


TOKEN = "A" * 43 + "="


def test_a_device_enrols_once_may_ask_again_and_renews(server, plant):
    invited(plant, "bergen", TOKEN)
    device, side = Device(name="bergen"), invitation(plant, "bergen")
    first = ask(server, plant, side, "Enrol", enrolment(device, TOKEN))
    assert ask(server, plant, side, "Enrol", enrolment(device, TOKEN)).chain == first.chain, "the reply may be lost"
    chain = b"".join(x509.load_der_x509_certificate(der).public_bytes(Encoding.PEM) for der in first.chain)
    mine = Side(chain, key_pem(device.key))
    raw = Raw(channel(server.port, plant.ca, mine)).hello()
    raw.until("welcome")
    raw.close()
    fresh = Device(name="bergen", identity=device.identity)
    request = pb.RenewRequest(signing_request=x509.load_pem_x509_csr(fresh.request()).public_bytes(Encoding.DER))
    renewed = ask(server, plant, mine, "Renew", request.SerializeToString())
    peer = read_peer(renewed.chain[0])
    assert (peer.name, peer.identity) == ("bergen", device.identity.public_key().public_bytes_raw())
    assert list(renewed.roots) == list(first.roots)


def test_tokens_that_are_used_forged_or_expired_and_names_that_exist_are_refused(server, plant):
    invited(plant, "bergen", TOKEN)
    side = invitation(plant, "bergen")
    told = denied(server, plant, side, "Enrol", enrolment(Device(name="bergen"), "B" * 43 + "="))
    assert told[0] == grpc.StatusCode.PERMISSION_DENIED
    told = denied(server, plant, side, "Enrol", enrolment(Device(name="riga"), TOKEN))
    assert told[0] == grpc.StatusCode.PERMISSION_DENIED and "the request is for 'riga'" in told[1]
    ask(server, plant, side, "Enrol", enrolment(Device(name="bergen"), TOKEN))
    told = denied(server, plant, side, "Enrol", enrolment(Device(name="bergen"), TOKEN))
    assert told[0] == grpc.StatusCode.PERMISSION_DENIED and "bergen" in told[1]
    invited(plant, "late", TOKEN[::-1].replace("=", "C") + "=", -1)
    told = denied(server, plant, invitation(plant, "late"), "Enrol", enrolment(Device(name="late"), TOKEN))
    assert told[0] == grpc.StatusCode.PERMISSION_DENIED


def test_a_client_enrols_nobody_and_broken_requests_are_told(server, plant):
    invited(plant, "bergen", TOKEN)
    told = denied(server, plant, plant.side("riga"), "Enrol", enrolment(Device(name="bergen"), TOKEN))
    assert told[0] == grpc.StatusCode.PERMISSION_DENIED and "needs the certificate of an invitation" in told[1]
    side = invitation(plant, "bergen")
    broken = pb.EnrolRequest(token=TOKEN, signing_request=b"no request").SerializeToString()
    assert denied(server, plant, side, "Enrol", broken)[0] == grpc.StatusCode.INVALID_ARGUMENT
    assert denied(server, plant, side, "Enrol", b"\xff" * 50)[0] == grpc.StatusCode.INVALID_ARGUMENT
    (plant.folder.path / "tokens.json").write_text("{")
    told = denied(server, plant, side, "Enrol", enrolment(Device(name="bergen"), TOKEN))
    assert told[0] == grpc.StatusCode.FAILED_PRECONDITION and "cannot sign now" in told[1]


def test_a_coordinator_without_a_key_says_how_else(plant, tmp_path):
    (plant.folder.path / "issuer.key").unlink()
    invited(plant, "bergen", TOKEN)
    with serving(plant, tmp_path) as server:
        told = denied(server, plant, invitation(plant, "bergen"), "Enrol", enrolment(Device(name="bergen"), TOKEN))
    assert told[0] == grpc.StatusCode.PERMISSION_DENIED and "hansa join --request" in told[1]


def test_a_certificate_that_is_renewed_on_disk_is_shown_to_the_next_connection(server, plant):
    def shown() -> int:
        context = ssl.create_default_context(cadata=plant.ca.decode())
        side = plant.side("bergen").context(plant.folder.path, ssl.Purpose.SERVER_AUTH, plant.ca)
        with (
            socket.create_connection(("127.0.0.1", server.port), SECONDS) as plain,
            side.wrap_socket(plain, server_hostname="127.0.0.1") as secure,
        ):
            assert context
            return read_peer(secure.getpeercert(binary_form=True)).serial

    before = shown()
    plant.folder.certify(plant.issuer, plant.folder.federation(), time.time())
    assert shown() not in (before, 0)


# What misbehaves


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


# The server itself


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
