"""Who is at the coordinator's door: the certificate of a connection, judged on the coordinator's clock."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol
from urllib.parse import unquote

from hansa.fedlink import link_pb2 as pb
from hansa.fedlink.certificates import CLIENT, Peer, checked_name, day, read_peer
from hansa.fedlink.errors import CertificateError, LinkError, RevocationError
from hansa.fedlink.revocation import RevocationList

NAME = "hansa-client"
"""The metadata in which a client without a certificate says its name, where that is allowed at all."""


class TurnedAway(LinkError):
    """Somebody who is not let in; ``code`` says whether to come back."""

    def __init__(self, code: pb.Code, text: str) -> None:
        super().__init__(text)
        self.code = code


class Context(Protocol):
    """What gRPC tells of a connection."""

    def auth_context(self) -> Any: ...
    def invocation_metadata(self) -> Any: ...


@dataclass(frozen=True, kw_only=True)
class Door:
    """Lets clients in by their certificates; ``revocations`` is None on an insecure loopback, where names are said."""

    revocations: RevocationList | None

    def admit(self, context: Context, now: float) -> Peer:
        """Return the client that is connected; raises TurnedAway."""
        if self.revocations is None:
            return _said(context)
        peer = certified(context)
        if peer.role != CLIENT:
            raise TurnedAway(pb.REFUSED, "this certificate is not a client's: enrol first (hansa join INVITATION).")
        self.check(peer, now)
        return peer

    def check(self, peer: Peer, now: float) -> None:
        """Raise TurnedAway where a client's certificate is revoked or over."""
        try:
            revoked = self.revocations is not None and self.revocations.revoked(peer.serial)
        except RevocationError as error:
            raise TurnedAway(pb.SHUTDOWN, f"the coordinator lets nobody in: {error}") from None
        if revoked:
            raise TurnedAway(
                pb.REVOKED,
                f"the certificate of {peer.name!r} is revoked: ask the coordinator's owner for an invitation.",
            )
        if now >= peer.not_after:
            raise TurnedAway(
                pb.SHUTDOWN,
                f"the certificate of {peer.name!r} was good until {day(peer.not_after)}: come back with a new one.",
            )


def certified(context: Context) -> Peer:
    """Return whose certificate a connection has; raises TurnedAway, also for anything but TLS 1.3."""
    told = context.auth_context()
    if told.get("ssl_tls_version", [b""])[0] != b"TLSv1.3":
        raise TurnedAway(pb.REFUSED, "the connection is not TLS 1.3: use a TLS library that has it.")
    try:
        return read_peer(told["x509_pem_cert"][0])
    except (KeyError, IndexError):
        raise TurnedAway(pb.REFUSED, "the connection has no client certificate: enrol first (hansa join).") from None
    except CertificateError as error:
        raise TurnedAway(pb.REFUSED, f"the certificate is none of this federation's: {error}") from None


def _said(context: Context) -> Peer:
    name = unquote(str(dict(context.invocation_metadata()).get(NAME, "")))
    try:
        checked_name(name)
    except CertificateError as error:
        raise TurnedAway(pb.REFUSED, str(error)) from None
    return Peer(role=CLIENT, name=name, serial=0, not_before=0, not_after=float("inf"), key="", identity=None)
