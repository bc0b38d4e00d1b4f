"""Enrolment and renewal on the same port: real gRPC and real certificates on loopback."""

from __future__ import annotations

import socket
import ssl
import time

import grpc
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from hansa.fedlink import link_pb2 as pb
from hansa.fedlink.authority import DAY
from hansa.fedlink.calls import SERVICE
from hansa.fedlink.certificates import key_pem, read_peer
from hansa.fedlink.server import Server
from hansa.fedlink.tokens import Entry, token_hash
from tests.devices import Plant, Raw, channel
from tests.fedlink.line import SECONDS, invitation, serving
from tests.identities import Device, Side


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
