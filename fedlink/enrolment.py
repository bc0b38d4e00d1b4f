"""How a device gets its certificate from the coordinator: first by a token, later by the certificate that it has."""

from __future__ import annotations

import dataclasses
import hmac
from collections.abc import Mapping
from dataclasses import dataclass, field

from hansa.fedlink.authority import DAY, Authority
from hansa.fedlink.certificates import CLIENT, INVITATION, Peer, day
from hansa.fedlink.errors import EnrolmentRefused
from hansa.fedlink.revocation import RevocationList, revoke
from hansa.fedlink.signing import Request, read_request
from hansa.fedlink.tokens import Entry, TokenBook, token_hash


@dataclass(frozen=True, kw_only=True)
class Registrar:
    """Signs for devices, and keeps the book of it. Without a signer it refuses, and says how to go on.

    Every method raises EnrolmentRefused, CertificateError, or FileError for a book or list that cannot be used.
    ``now`` is the time in seconds since 1970; what is returned is a leaf and its chain in PEM.
    """

    book: TokenBook
    revocations: RevocationList
    signer: Authority | None = field(repr=False)
    valid_days: float = 90

    def enrol(self, peer: Peer, token: str, request: bytes, now: float) -> bytes:
        """Give a device its first certificate. ``peer`` is who is connected: the holder of an invitation.

        The same device may ask again with the same token, because the reply may have been lost, and gets the same.
        """
        self.check_peer(peer, INVITATION, now)
        asked = read_request(request)
        if asked.name != peer.name:
            raise EnrolmentRefused(f"the request is for {asked.name!r} and the invitation for {peer.name!r}: use one.")
        with self.book.writing() as entries:
            entry = entries.get(peer.name, Entry())
            _check_token(entries, peer.name, token)
            if entry.revoked is not None:
                raise EnrolmentRefused(f"{peer.name!r} is revoked: {_again(peer.name)}")
            if entry.certificate is not None:
                return _repeated(entry, asked)
            if entry.expires <= now:
                raise EnrolmentRefused(
                    f"the invitation of {peer.name!r} was good until {day(entry.expires)}: {_again(peer.name)}"
                )
            chain = self._sign(asked, now)
            entries[peer.name] = dataclasses.replace(entry.granted(chain, now), used=now)
        return chain

    def renew(self, peer: Peer, request: bytes, now: float) -> bytes:
        """Give a client that is connected a fresh certificate, for a fresh key and the identity that it has."""
        self.check_peer(peer, CLIENT, now)
        asked = read_request(request)
        with self.book.writing() as entries:
            entry = entries.get(peer.name, Entry())
            if entry.revoked is not None or f"{peer.serial:x}" not in entry.serials:
                raise EnrolmentRefused(
                    f"the certificate of {peer.name!r} is not in the coordinator's book: {_again(peer.name)}"
                )
            _check_renewal(asked, peer)
            chain = self._sign(asked, now)
            entries[peer.name] = entry.granted(chain, now)
        return chain

    def sign(self, request: bytes, now: float) -> bytes:
        """Give a certificate to whoever the owner of the key has decided to trust: a request that came by hand."""
        asked = read_request(request)
        with self.book.writing() as entries:
            entry = entries.get(asked.name, Entry())
            if entry.state(now) == "revoked":
                raise EnrolmentRefused(f"{asked.name!r} is revoked: {_again(asked.name)}")
            if entry.state(now) == "enrolled" and entry.identity != asked.identity:
                raise EnrolmentRefused(
                    f"{asked.name!r} has a certificate already, of another device: revoke that first "
                    f"(hansa provision revoke FOLDER {asked.name})."
                )
            chain = self._sign(asked, now)
            entries[asked.name] = entry.granted(chain, now)
        return chain

    def revoke(self, name: str, now: float) -> None:
        """Accept nothing of a name any more: its certificates, its invitation, its token."""
        with self.book.writing() as entries:
            entry = entries[name]
            revoke(self.revocations.path, entry.all_serials(), name, now)
            entries[name] = dataclasses.replace(entry, revoked=now)

    def check_peer(self, peer: Peer, role: str, now: float) -> None:
        """Refuse whoever may not ask for this at all, whatever the request."""
        if peer.role != role:
            raise EnrolmentRefused(
                f"this needs the certificate of {_ROLES[role]}, and the peer has {_ROLES[peer.role]}."
            )
        if not peer.not_before <= now < peer.not_after:
            raise EnrolmentRefused(
                f"the certificate of {peer.name!r} is good from {day(peer.not_before)} until {day(peer.not_after)}, "
                f"and the coordinator's clock says {day(now)}: set the clock that is wrong, or {_again(peer.name)}"
            )
        if self.revocations.revoked(peer.serial):
            raise EnrolmentRefused(f"{peer.name!r} is revoked: {_again(peer.name)}")

    def _sign(self, asked: Request, now: float) -> bytes:
        if self.signer is None:
            raise EnrolmentRefused(
                "this coordinator has no key to sign with: make a request on the device (hansa join --request) and "
                "have it signed where the CA's key is (hansa provision sign FOLDER device.request)."
            )
        return self.signer.pem(self.signer.client(asked, now, self.valid_days * DAY))


_ROLES = {"server": "a server", "client": "a client", "invitation": "an invitation"}


def _check_token(entries: Mapping[str, Entry], name: str, token: str) -> None:
    told = token_hash(token.encode(errors="replace"))
    if hmac.compare_digest(told, entries.get(name, Entry()).token):
        return
    if any(hmac.compare_digest(told, entry.token) for entry in entries.values()):
        raise EnrolmentRefused(f"the token is of another client than {name!r}: use the one of its own invitation.")
    raise EnrolmentRefused(f"the token is not that of the latest invitation of {name!r}: {_again(name)}")


def _repeated(entry: Entry, asked: Request) -> bytes:
    """Return the certificate that this same device was given; raises EnrolmentRefused."""
    assert entry.certificate is not None
    if entry.used is None:
        raise EnrolmentRefused(f"{asked.name!r} has a certificate already, signed by hand: use that one.")
    if (entry.device, entry.identity) != (asked.fingerprint, asked.identity):
        raise EnrolmentRefused(
            f"the token of {asked.name!r} was used by another device on {day(entry.used)}: if that was not you, "
            f"have it revoked (hansa provision revoke FOLDER {asked.name})."
        )
    return entry.certificate.encode()


def _check_renewal(asked: Request, peer: Peer) -> None:
    if asked.name != peer.name:
        raise EnrolmentRefused(f"{peer.name!r} asked for a certificate of {asked.name!r}: each client renews its own.")
    if asked.identity != peer.identity:
        raise EnrolmentRefused(
            f"{peer.name!r} asked with another identity key than its certificate has: restore the device's own, or "
            f"have it revoked and invited again."
        )
    if asked.fingerprint == peer.key:
        raise EnrolmentRefused(f"{peer.name!r} asked with the key that it has: make a fresh one for each renewal.")


def _again(name: str) -> str:
    return f"ask for an invitation (hansa provision FOLDER clients={name})."
