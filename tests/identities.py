"""Federations of certificates for tests, and real handshakes on loopback."""

from __future__ import annotations

import socket
import ssl
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from hansa.fedlink.authority import DAY, Authority
from hansa.fedlink.certificates import INVITATION, Peer, key_pem, new_key, read_peer
from hansa.fedlink.enrolment import Registrar
from hansa.fedlink.revocation import RevocationList
from hansa.fedlink.signing import read_request, signing_request
from hansa.fedlink.tokens import Entry, TokenBook, token_hash

HOST = "127.0.0.1"
NOW = 1.8e9
"""A time for all that does not need the machine's clock."""


@dataclass(frozen=True, kw_only=True)
class Device:
    """A device's two keys."""

    name: str
    key: ec.EllipticCurvePrivateKey = field(default_factory=new_key)
    identity: Ed25519PrivateKey = field(default_factory=Ed25519PrivateKey.generate)

    def request(self) -> bytes:
        return signing_request(self.name, self.key, self.identity)


@dataclass(frozen=True)
class Side:
    """A chain and its key in PEM: one side of a handshake."""

    chain: bytes
    key: bytes

    def context(self, folder: Path, purpose: ssl.Purpose, ca: bytes) -> ssl.SSLContext:
        (folder / "chain.pem").write_bytes(self.chain)
        (folder / "key.pem").write_bytes(self.key)
        context = ssl.create_default_context(purpose, cadata=ca.decode())
        context.load_cert_chain(folder / "chain.pem", folder / "key.pem")
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        context.verify_mode = ssl.CERT_REQUIRED
        return context


def server_side(authority: Authority, now: float, host: str = HOST) -> Side:
    key = new_key()
    return Side(authority.pem(authority.server(host, key.public_key(), now, 90 * DAY)), key_pem(key))


def client_side(authority: Authority, now: float, name: str = "bergen", seconds: float = 90 * DAY) -> Side:
    device = Device(name=name)
    return Side(authority.pem(authority.client(read_request(device.request()), now, seconds)), key_pem(device.key))


def pem(authority: Authority) -> bytes:
    return authority.certificate.public_bytes(Encoding.PEM)


def any_key_pem(key: ec.EllipticCurvePrivateKey | Ed25519PrivateKey) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def handshake(folder: Path, server: Side, client: Side, server_ca: bytes, client_ca: bytes | None = None) -> Peer:
    """Shake hands under mutual TLS 1.3; return the client as the server sees it, or raise what the server, else the
    client, raised."""
    accepting = server.context(folder, ssl.Purpose.CLIENT_AUTH, client_ca or server_ca)
    calling = client.context(folder, ssl.Purpose.SERVER_AUTH, server_ca)

    def serve(listening: socket.socket) -> bytes:
        plain = listening.accept()[0]
        plain.settimeout(20)
        with plain, accepting.wrap_socket(plain, server_side=True) as secure:
            seen = secure.getpeercert(binary_form=True)
            secure.sendall(b"welcome")
            assert seen is not None and secure.version() == "TLSv1.3"
            return seen

    with socket.create_server((HOST, 0)) as listening, ThreadPoolExecutor(1) as pool:
        served = pool.submit(serve, listening)
        try:
            with (
                socket.create_connection(listening.getsockname(), 20) as plain,
                calling.wrap_socket(plain, server_hostname=HOST) as secure,
            ):
                assert secure.recv(7) == b"welcome"
        except ssl.SSLError as error:
            if isinstance(served.exception(), ssl.SSLCertVerificationError):
                served.result()
            raise error
        return read_peer(served.result())


def invited(authority: Authority, name: str, now: float, seconds: float = 7 * DAY) -> Peer:
    """Who is connected with an invitation's certificate."""
    leaf = authority.leaf(INVITATION, name, new_key().public_key(), now, seconds)
    return read_peer(leaf.public_bytes(Encoding.DER))


def registrar(folder: Path, signer: Authority | None, tokens: dict[str, str]) -> Registrar:
    """A registrar with an empty revocation list and a book of these tokens by name, good for 7 days from NOW."""
    book = TokenBook(path=folder / "tokens.json")
    book.create()
    with book.writing() as entries:
        entries |= {
            name: Entry(token=token_hash(token), expires=NOW + 7 * DAY, invitation=f"{number:x}")
            for number, (name, token) in enumerate(tokens.items(), 1)
        }
    (folder / "revoked.jsonl").touch()
    return Registrar(book=book, revocations=RevocationList(path=folder / "revoked.jsonl"), signer=signer)
