"""The folder ``server``: all that a coordinator needs to be known and to know others.

federation.json              name, address, days that certificates are valid, the task that invitations carry
ca.pem                       the root, which clients trust and whose clients are let in
server.pem, server.key       the server's certificate with its chain, and its key
issuer.pem, issuer.key       the issuing authority; not there where the coordinator may sign nothing
tokens.json, revoked.jsonl   the token book and the revocation list
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives.serialization import Encoding

from hansa.fedlink.authority import BACK, DAY, Authority, load_issuer
from hansa.fedlink.certificates import (
    checked_name,
    day,
    fingerprint,
    key_pem,
    load_certificate,
    load_key,
    new_key,
    read_peer,
)
from hansa.fedlink.enrolment import Registrar
from hansa.fedlink.errors import CertificateError, FileError
from hansa.fedlink.files import VERSION, make_folder, parse, read, replace
from hansa.fedlink.invitation import LARGEST, TaskFile, read_task, split_address, task_fields
from hansa.fedlink.protocol.clocks import spoken
from hansa.fedlink.revocation import RevocationList
from hansa.fedlink.tokens import TokenBook

KINDS: dict[str, tuple[type, ...]] = {
    "version": (int,),
    "name": (str,),
    "address": (str,),
    "valid_days": (int, float),
    "task": (dict,),
}
LONGEST = 3650
"""Days that certificates may be valid."""
SKEW = 300.0
"""Seconds by which a clock may be behind before it is told."""


@dataclass(frozen=True, kw_only=True)
class Federation:
    """What is agreed for all: the federation's name, where its coordinator is, and what will be learnt."""

    name: str
    address: str
    task: str | TaskFile
    valid_days: float = 90


@dataclass(frozen=True, kw_only=True)
class ServerFolder:
    """The folder's files. Every method raises FileError or CertificateError; times are in seconds since 1970."""

    path: Path

    @property
    def ca(self) -> Path:
        return self.path / "ca.pem"

    @property
    def chain(self) -> Path:
        return self.path / "server.pem"

    @property
    def key(self) -> Path:
        return self.path / "server.key"

    @property
    def exists(self) -> bool:
        """Whether the folder was made, to its end."""
        return self._federation.exists()

    def book(self) -> TokenBook:
        return TokenBook(path=self.path / "tokens.json")

    def revocations(self) -> RevocationList:
        return RevocationList(path=self.path / "revoked.jsonl")

    def federation(self) -> Federation:
        """Read what is agreed for all."""
        where = f"the file {self._federation}"
        fields = parse(read(self._federation, LARGEST), where, KINDS, FileError)
        split_address(fields["address"], FileError)
        if not 0 < fields["valid_days"] <= LONGEST:
            raise FileError(f"{where}: valid_days must be above 0, and {LONGEST:,} at most: mend it.")
        return Federation(
            name=checked_name(fields["name"]),
            address=fields["address"],
            task=read_task(fields["task"], f"{where}: its task", FileError),
            valid_days=fields["valid_days"],
        )

    def credentials(self) -> tuple[bytes, bytes, bytes]:
        """Return the server's key, its chain and the root, in PEM; raises also where key and chain do not match."""
        key, chain = read(self.key, LARGEST), read(self.chain, LARGEST)
        if fingerprint(load_key(key).public_key()) != read_peer(chain).key:
            raise CertificateError(
                f"{self.key} is not the key of {self.chain}: wait until a renewal is done, or repeat it "
                "(hansa provision renew FOLDER)."
            )
        ca = read(self.ca, LARGEST)
        load_certificate(ca)
        return key, chain, ca

    def changed(self) -> tuple[int, ...]:
        """Return what differs after the server's certificate, key or root were replaced."""
        return tuple(path.stat().st_mtime_ns for path in (self.key, self.chain, self.ca) if path.exists())

    def behind(self, now: float) -> str | None:
        """Say how far this machine's clock is behind what was signed and written here, where it is.

        TLS says nothing of it: it ends the line of whoever has a newer certificate, without a word on either side.
        """
        written = [path.stat().st_mtime for path in self.path.iterdir() if path.is_file()]
        latest = max(read_peer(read(self.chain, LARGEST)).not_before + BACK, *written)
        if latest <= now + SKEW:
            return None
        return (
            f"this coordinator's clock says {day(now)}, and {self.path} holds what is of {day(latest)}: the clock is "
            f"{spoken(latest - now)} behind, or more. Set it, e.g. by NTP: devices with newer certificates cannot "
            "connect until then."
        )

    def issuer(self) -> Authority | None:
        """Return the issuing authority, or None where the coordinator may sign nothing."""
        certificate, key = self.path / "issuer.pem", self.path / "issuer.key"
        return load_issuer(read(certificate, LARGEST), read(key, LARGEST)) if key.exists() else None

    def registrar(self, signer: Authority | None) -> Registrar:
        """Return who signs for devices; the coordinator's own signer is ``issuer()``."""
        return Registrar(
            book=self.book(),
            revocations=self.revocations(),
            signer=signer,
            valid_days=self.federation().valid_days,
        )

    def make(self, root: Authority, issuer: Authority | None, federation: Federation, now: float) -> None:
        """Write all files of a folder that is not there yet."""
        make_folder(self.path)
        replace(self.ca, root.certificate.public_bytes(Encoding.PEM))
        if issuer is not None:
            replace(self.path / "issuer.key", key_pem(issuer.key), secret=True)
            replace(self.path / "issuer.pem", issuer.certificate.public_bytes(Encoding.PEM))
        self.book().create()
        replace(self.revocations().path, b"")
        self.certify(issuer or root, federation, now)

    def certify(self, signer: Authority, federation: Federation, now: float) -> None:
        """Write a fresh certificate and key of the server, and what is agreed for all."""
        host, _ = split_address(federation.address, FileError)
        key = new_key()
        leaf = signer.server(host, key.public_key(), now, federation.valid_days * DAY)
        replace(self.key, key_pem(key), secret=True)
        replace(self.chain, signer.pem(leaf))
        self.agree(federation)

    def agree(self, federation: Federation) -> None:
        """Write what is agreed for all."""
        fields = {
            "version": VERSION,
            "name": federation.name,
            "address": federation.address,
            "valid_days": federation.valid_days,
            "task": task_fields(federation.task),
        }
        replace(self._federation, json.dumps(fields, indent=1, ensure_ascii=False).encode() + b"\n")

    @property
    def _federation(self) -> Path:
        return self.path / "federation.json"
