"""The device's end of the link: one stream to the coordinator, and in plain words why there is none."""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

from cryptography.hazmat.primitives.serialization import Encoding
from google.protobuf.message import DecodeError

from hansa.fedlink import link_pb2 as pb
from hansa.fedlink.certificates import day, load_certificate, read_peer
from hansa.fedlink.door import NAME
from hansa.fedlink.errors import CertificateError, EnrolmentRefused, Unreachable
from hansa.fedlink.grpc13 import grpc
from hansa.fedlink.invitation import split_address
from hansa.fedlink.outbox import Outbox
from hansa.fedlink.protocol import LARGEST_FRAME
from hansa.fedlink.texts import one_line

METHODS = "/hansa.link.v1.Link/"
PATIENCE = 20.0
"""Seconds for a call that is no stream, and for finding out what is wrong."""
LONGEST_CHAIN = 8
"""Certificates from a device's to the root."""
OPTIONS = (
    ("grpc.max_receive_message_length", LARGEST_FRAME),
    ("grpc.experimental.tcp_max_read_buffer_size", 2**16),
    ("grpc.keepalive_time_ms", 60_000),
    ("grpc.keepalive_timeout_ms", 20_000),
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.enable_retries", 0),
)


@dataclass(frozen=True, kw_only=True)
class Trust:
    """Where the coordinator is, whom to trust, and who this device is: PEM; ``chain`` and ``key`` prove its name.

    Without a CA the line is plain text, on a loopback address, and the name is only said.
    """

    address: str
    client: str
    ca: bytes | None
    chain: bytes = b""
    key: bytes = field(default=b"", repr=False)

    def channel(self) -> grpc.aio.Channel:
        """Return a channel, which connects when it is used."""
        if self.ca is None:
            return grpc.aio.insecure_channel(self.address, OPTIONS)
        credentials = grpc.ssl_channel_credentials(self.ca, self.key, self.chain)
        return grpc.aio.secure_channel(self.address, credentials, OPTIONS)

    async def call(self, method: str, request: Any, now: float) -> bytes:
        """Ask for a certificate: Enrol or Renew; return its chain in PEM.

        Raises EnrolmentRefused with the reason, Unreachable, or CertificateError where the reply is none.
        """
        async with self.channel() as channel:
            try:
                raw = await channel.unary_unary(METHODS + method)(request.SerializeToString(), timeout=PATIENCE)
            except grpc.aio.AioRpcError as error:
                if error.code() in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED):
                    raise Unreachable(await asyncio.to_thread(diagnose, self, now)) from None
                raise EnrolmentRefused(details(error)) from None
        return granted(raw)


@dataclass(eq=False)
class Line:
    """One stream. ``outbox`` is what is to be written; ``receive`` is called with each frame."""

    trust: Trust
    receive: Callable[[bytes], None]
    outbox: Outbox = field(default_factory=Outbox)

    async def hold(self) -> None:
        """Connect and carry frames both ways until either side ends it; raises AioRpcError where the line breaks."""
        async with self.trust.channel() as channel:
            said = ((NAME, quote(self.trust.client, safe="")),) if self.trust.ca is None else ()
            stream = channel.stream_stream(METHODS + "Session")(metadata=said)
            reader, writer = asyncio.create_task(self._read(stream)), asyncio.create_task(self._write(stream))
            try:
                await asyncio.wait({reader, writer}, return_when=asyncio.FIRST_COMPLETED)
                if self.outbox.closed:
                    await asyncio.wait({writer}, timeout=1)
                for task in (reader, writer):
                    if task.cancelled():  # by gRPC: who awaits its result would be taken for cancelled too
                        raise ConnectionResetError("gRPC gave the stream up")
                    if task.done():
                        task.result()
            finally:
                reader.cancel()
                writer.cancel()
                stream.cancel()
                self.outbox.close()

    async def _read(self, stream: Any) -> None:
        while (raw := await stream.read()) is not grpc.aio.EOF:
            self.receive(raw)
            del raw  # a chunk must not stay until the next frame comes

    async def _write(self, stream: Any) -> None:
        while (raw := await self.outbox.next()) is not None:
            await stream.write(raw)
            del raw
        await stream.done_writing()


def details(error: grpc.aio.AioRpcError) -> str:
    """Return in one line what gRPC, or the other side, says of an error."""
    return one_line(error.details() or "") or str(error.code())


def granted(raw: bytes) -> bytes:
    """Return the chain of an EnrolReply in PEM; raises CertificateError."""
    try:
        chain = pb.EnrolReply.FromString(raw).chain
    except DecodeError:
        raise CertificateError("the coordinator's reply is none: install the same hansa on both sides.") from None
    if not 1 <= len(chain) <= LONGEST_CHAIN:
        raise CertificateError(f"the coordinator sent {len(chain)} certificates: install the same hansa on both sides.")
    return b"".join(load_certificate(der).public_bytes(Encoding.PEM) for der in chain)


def diagnose(trust: Trust, now: float) -> str:
    """Say in one line why the coordinator cannot be reached. It blocks, for seconds at most."""
    host, port = split_address(trust.address)
    if any(os.environ.get(name) for name in ("grpc_proxy", "https_proxy", "http_proxy")):
        return f"{trust.address} cannot be reached through the proxy of the environment: see that it allows CONNECT."
    try:
        with socket.create_connection((host, port), PATIENCE) as plain:
            return "the coordinator closed the line." if trust.ca is None else _shaken(trust, host, plain, now)
    except socket.gaierror:
        return f"the name {host!r} is unknown: see the address in the invitation, and this device's DNS."
    except TimeoutError:
        return f"{trust.address} does not answer: a firewall may be in between, or the machine is off."
    except OSError as error:
        return f"{trust.address} cannot be reached ({error.strerror}): is the coordinator running (hansa serve)?"


def _shaken(trust: Trust, host: str, plain: socket.socket, now: float) -> str:
    context = ssl.create_default_context(ssl.Purpose.SERVER_AUTH, cadata=(trust.ca or b"").decode())
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    try:
        with context.wrap_socket(plain, server_hostname=host):
            return _own(trust, now)
    except ssl.SSLCertVerificationError as error:
        if error.verify_code in (9, 10):
            wrong = "not valid yet" if error.verify_code == 9 else "expired"
            return (
                f"the coordinator's certificate is {wrong} by this device's clock, which says {day(now)}: "
                "set the clock, or renew the certificate (hansa provision renew)."
            )
        return f"{trust.address} is not this federation's coordinator ({error.verify_message}): see the address."
    except (ssl.SSLError, ConnectionError):
        return f"{trust.address} speaks no TLS 1.3: is another program there, or a coordinator with insecure=true?"


def _own(trust: Trust, now: float) -> str:
    peer = read_peer(trust.chain)
    if now >= peer.not_after:
        return f"this device's certificate was good until {day(peer.not_after)}: ask for a new invitation."
    return "the coordinator turned this device's certificate away: ask its owner (hansa provision list)."
