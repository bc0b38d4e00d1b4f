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
from hansa.fedlink.protocol.clocks import spoken
from hansa.fedlink.texts import one_line

METHODS = "/hansa.link.v1.Link/"
PATIENCE = 20.0
"""Seconds for a call that is no stream, and for finding out what is wrong."""
REFUSALS = (
    grpc.StatusCode.PERMISSION_DENIED,
    grpc.StatusCode.INVALID_ARGUMENT,
    grpc.StatusCode.FAILED_PRECONDITION,
    grpc.StatusCode.UNIMPLEMENTED,
)
"""What a coordinator means; all else happens to a line."""
LAST = 1.0
"""Seconds for what is on its way when a stream ends."""
PROXIES = ("no_grpc_proxy", "no_proxy", "grpc_proxy", "https_proxy", "http_proxy")
BROKE = "the line broke before the coordinator's welcome."
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

        Raises EnrolmentRefused with the reason, Unreachable: try again, or CertificateError where the reply is none.
        """
        async with self.channel() as channel:
            try:
                raw = await channel.unary_unary(METHODS + method)(request.SerializeToString(), timeout=PATIENCE)
            except grpc.aio.AioRpcError as error:
                if error.code() in REFUSALS:
                    raise EnrolmentRefused(one_line(error.details() or str(error.code()))) from None
                raise Unreachable(await asyncio.to_thread(diagnose, self, now)) from None
        return granted(raw)


@dataclass(eq=False)
class Line:
    """One stream. ``outbox`` is what is to be written; ``receive`` is called with each frame."""

    trust: Trust
    receive: Callable[[bytes], None]
    outbox: Outbox = field(default_factory=Outbox)

    async def hold(self) -> None:
        """Connect and carry frames both ways until either side ends it; raises Unreachable where the line breaks."""
        async with self.trust.channel() as channel:
            said = ((NAME, quote(self.trust.client, safe="")),) if self.trust.ca is None else ()
            stream = channel.stream_stream(METHODS + "Session")(metadata=said)
            reader, writer = asyncio.create_task(self._read(stream)), asyncio.create_task(self._write(stream))
            closing = asyncio.create_task(self.outbox.over())  # the other side may neither read nor write
            try:
                await asyncio.wait({reader, writer, closing}, return_when=asyncio.FIRST_COMPLETED)
                if self.outbox.closed:
                    await asyncio.wait({writer}, timeout=LAST)
                if writer.done() and not reader.done() and _broke(writer):
                    await asyncio.wait({reader}, timeout=LAST)  # a goodbye may be on its way, and it knows why
                for error in filter(None, (_broke(reader), _broke(writer))):
                    raise error
            finally:
                for task in (reader, writer, closing):
                    task.cancel()
                stream.cancel()
                self.outbox.close()
                await asyncio.wait({reader, writer}, timeout=LAST)

    async def _read(self, stream: Any) -> None:
        while (raw := await stream.read()) is not grpc.aio.EOF:
            self.receive(raw)
            del raw  # a chunk must not stay until the next frame comes

    async def _write(self, stream: Any) -> None:
        while (raw := await self.outbox.next()) is not None:
            await stream.write(raw)
            del raw
        await stream.done_writing()


def _broke(task: asyncio.Task[None]) -> Exception | None:
    """Return what ended a stream's reader or writer; for what gRPC raises where a line breaks, that it did."""
    if not task.done():
        return None
    if task.cancelled():
        return Unreachable("the line broke (the stream was cancelled).")
    error = task.exception()
    if isinstance(error, grpc.aio.AioRpcError):
        return Unreachable(f"the line broke ({one_line(error.details() or error.code().name)}).")
    if isinstance(error, asyncio.InvalidStateError | grpc.aio.UsageError):  # something was to be written to it
        return Unreachable("the line broke (the stream was over).")
    return error if isinstance(error, Exception) else None


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
    if _proxied(host):
        return (
            f"{trust.address} cannot be reached through the proxy of the environment: see that it allows CONNECT, "
            "and that the coordinator runs."
        )
    try:
        with socket.create_connection((host, port), PATIENCE) as plain:
            return BROKE if trust.ca is None else _shaken(trust, host, plain, now)
    except socket.gaierror:
        return f"the name {host!r} is unknown: see the address in the invitation, and this device's DNS."
    except TimeoutError:
        return f"{trust.address} does not answer: a firewall may be in between, or the machine is off."
    except OSError as error:
        return f"{trust.address} cannot be reached ({error.strerror}): is the coordinator running (hansa serve)?"


def _proxied(host: str) -> bool:
    """Whether gRPC goes through a proxy of the environment."""
    said = [
        os.environ.get(name, "") for name in ("no_grpc_proxy", "no_proxy", "grpc_proxy", "https_proxy", "http_proxy")
    ]
    spared = [name.strip() for name in (said[0] or said[1]).split(",")]
    return any(said[2:]) and not any(host.endswith(name) for name in spared if name)


def _shaken(trust: Trust, host: str, plain: socket.socket, now: float) -> str:
    """Shake hands as this device, and see at which step the coordinator ends it."""
    context = ssl.create_default_context(ssl.Purpose.SERVER_AUTH, cadata=(trust.ca or b"").decode())
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.set_alpn_protocols(["h2"])
    shown = _show(context, trust)
    try:
        with context.wrap_socket(plain, server_hostname=host) as secure:
            return _unwanted(trust, now) if shown and not _spoken_to(secure) else BROKE
    except ssl.SSLCertVerificationError as error:
        if error.verify_code in (9, 10):
            wrong = "not valid yet" if error.verify_code == 9 else "expired"
            return (
                f"the coordinator's certificate is {wrong} by this device's clock, which says {day(now)}: "
                "set the clock, or renew the certificate (hansa provision renew)."
            )
        return f"{trust.address} is not this federation's coordinator ({error.verify_message}): see the address."
    except (ssl.SSLEOFError, ConnectionError):
        return f"{trust.address} closed the line in the TLS handshake: it stops, is full, or is another program."
    except ssl.SSLError:
        return f"{trust.address} speaks no TLS 1.3: is another program there, or a coordinator with insecure=true?"


def _show(context: ssl.SSLContext, trust: Trust) -> bool:
    """Let a context show this device's certificate, by a file in memory; whether this system has such files."""
    if not hasattr(os, "memfd_create"):
        return False
    memory = os.memfd_create("hansa")
    try:
        os.write(memory, trust.key + trust.chain)
        context.load_cert_chain(f"/proc/self/fd/{memory}")
    except OSError:  # also where key and certificate do not go together
        return False
    finally:
        os.close(memory)
    return True


def _spoken_to(secure: ssl.SSLSocket) -> bool:
    """Whether the other side says anything: it does so at once, unless it turns this device's certificate away."""
    try:
        return bool(secure.recv(1))
    except (ssl.SSLError, ConnectionError):
        return False


def _unwanted(trust: Trust, now: float) -> str:
    """Say why a coordinator may end a connection as soon as it has seen the device's certificate."""
    peer = read_peer(trust.chain)
    since, until = day(peer.not_before), day(peer.not_after)
    if now >= peer.not_after:
        return f"this device's certificate was good until {until}: ask for a new invitation."
    if now < peer.not_before:
        early = spoken(peer.not_before - now)
        return (
            f"this device's certificate is good from {since} on, and this device's clock says {day(now)}: it is "
            f"{early} behind, or more; set it, e.g. by NTP."
        )
    return (
        f"the coordinator ends the line at the sight of this device's certificate, which is good from {since} until "
        f"{until}: it is none of its federation's (hansa provision list), or the coordinator's clock is "
        f"{spoken(now - peer.not_before)} behind this device's or more, or {spoken(peer.not_after - now)} ahead."
    )
