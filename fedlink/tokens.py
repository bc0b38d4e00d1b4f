"""The token book: who was invited, by the hash of a token, and which certificates each name has got since."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hansa.fedlink.certificates import SERIAL, checked_name, read_peer
from hansa.fedlink.errors import CertificateError, EnrolmentRefused, FileError
from hansa.fedlink.files import VERSION, checked, locked, parse, read, replace

LARGEST = 2**28
"""Bytes of a book: some 50,000 clients."""
RENEWALS = 64
"""Certificates of one name that may be valid at once."""
KINDS: dict[str, tuple[type, ...]] = {"version": (int,), "clients": (dict,)}
ENTRY_KINDS: dict[str, tuple[type, ...]] = {
    "token": (str,),
    "expires": (int, float),
    "invitation": (str,),
    "used": (int, float, type(None)),
    "device": (str, type(None)),
    "certificate": (str, type(None)),
    "serials": (dict,),
    "revoked": (int, float, type(None)),
}


@dataclass(frozen=True, kw_only=True)
class Entry:
    """What a book knows of a name; times in seconds since 1970.

    ``token`` is the SHA-256 of the one-time token (empty: never invited) and ``invitation`` the serial of the
    certificate that went with it. ``device`` is the fingerprint of the key that ``certificate`` (PEM chain) was given
    for. ``serials`` holds every certificate that may still be valid, with its end.
    """

    token: str = ""
    expires: float = 0.0
    invitation: str = ""
    used: float | None = None
    device: str | None = None
    certificate: str | None = field(default=None, repr=False)
    serials: Mapping[str, float] = field(default_factory=dict)
    revoked: float | None = None

    @property
    def until(self) -> float:
        """When the latest certificate ends, or the invitation where there is none."""
        return max(self.serials.values(), default=self.expires)

    @property
    def identity(self) -> bytes | None:
        """The Ed25519 identity that the latest certificate binds."""
        return None if self.certificate is None else read_peer(self.certificate.encode()).identity

    def state(self, now: float) -> str:
        """Return ``invited``, ``enrolled``, ``expired`` or ``revoked``."""
        if self.revoked is not None:
            return "revoked"
        if self.until <= now:
            return "expired"
        return "invited" if self.certificate is None else "enrolled"

    def all_serials(self) -> set[int]:
        """Return the serials of all that could still connect under this name."""
        return {int(serial, 16) for serial in (*self.serials, self.invitation) if serial}

    def granted(self, chain: bytes, now: float) -> Entry:
        """Return the entry after one more certificate; raises EnrolmentRefused where there are too many."""
        peer = read_peer(chain)
        live = {serial: end for serial, end in self.serials.items() if end > now}
        if len(live) >= RENEWALS:
            raise EnrolmentRefused(f"{peer.name} has {RENEWALS} valid certificates: revoke it, and invite it again.")
        live[f"{peer.serial:x}"] = peer.not_after
        return dataclasses.replace(self, device=peer.key, certificate=chain.decode(), serials=live)


@dataclass(frozen=True, kw_only=True)
class TokenBook:
    """A book's file. It is read anew for each use, because another process may have written to it."""

    path: Path

    def read(self) -> dict[str, Entry]:
        """Return the entries by name; raises FileError."""
        where = f"the token book {self.path}"
        clients = parse(read(self.path, LARGEST), where, KINDS, FileError)["clients"]
        return {_name(name, where): _entry(fields, f"{where}: {name!a}") for name, fields in clients.items()}

    @contextlib.contextmanager
    def writing(self) -> Iterator[dict[str, Entry]]:
        """Hold the book against all others, and write what was changed unless an error comes out; raises FileError."""
        with locked(self.path):
            before = self.read()
            entries = dict(before)
            yield entries
            if entries != before:
                self._write(entries)

    def create(self) -> None:
        """Write an empty book; raises FileError."""
        self._write({})

    def _write(self, entries: Mapping[str, Entry]) -> None:
        lines = [
            f"{json.dumps(name, ensure_ascii=False)}: {json.dumps(vars(entry))}"
            for name, entry in sorted(entries.items())
        ]
        text = f'{{"version": {VERSION}, "clients": {{\n' + ",\n".join(lines) + "\n}}\n"
        replace(self.path, text.encode(), secret=True)


def token_hash(token: bytes | str) -> str:
    """Return what a book keeps of a token, given as it stands in an invitation."""
    return hashlib.sha256(token if isinstance(token, bytes) else token.encode()).hexdigest()


def _name(name: str, where: str) -> str:
    try:
        return checked_name(name)
    except CertificateError as error:
        raise FileError(f"{where}: {error}") from None


def _entry(fields: Any, where: str) -> Entry:
    fields = checked(fields, where, ENTRY_KINDS, FileError)
    checked(fields["serials"], f"{where}: serials", dict.fromkeys(fields["serials"], (int, float)), FileError)
    if not all(map(SERIAL.fullmatch, (*fields["serials"], fields["invitation"] or "0"))):
        raise FileError(f"{where} has a serial that is none: it was altered; restore the book.")
    return Entry(**fields)
