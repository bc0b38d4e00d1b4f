"""A device's home: its keys, its certificate, what was approved, and what it works on.

place.json                 the coordinator's address, the client's name, the approved task, the place's own settings
ca.pem                     whom it trusts
client.key, client.pem     the key that shows who it is, and its certificate; renewed by themselves
identity.key               the identity that stays
mine.py                    the approved task file, where there is one
site.yaml                  what its owner allows at most
state/, spool/             the client's state by run; requests that are not finished
work/                      where the worker process runs: it finds nothing there
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding

from hansa.fedlink import link_pb2 as pb
from hansa.fedlink.authority import BACK
from hansa.fedlink.certificates import (
    checked_name,
    day,
    fingerprint,
    key_pem,
    load_identity,
    load_key,
    new_key,
    read_peer,
)
from hansa.fedlink.dial import Trust
from hansa.fedlink.errors import FileError
from hansa.fedlink.files import VERSION, demand_readable, make_folder, parse, read, replace
from hansa.fedlink.invitation import LARGEST, Invitation, TaskFile
from hansa.fedlink.signing import signing_request

KINDS: dict[str, tuple[type, ...]] = {
    "version": (int,),
    "federation": (str,),
    "address": (str,),
    "client": (str,),
    "task": (dict,),
    "settings": (list,),
    "insecure": (bool,),
}


NODE = "node."
"""How settings begin that a Flower ClientApp reads, as its node's configuration."""


@dataclass(kw_only=True)
class Place:
    """What a device knows. ``task`` is ``{"name": ...}``, or the path, class and SHA-256 of the approved file.

    ``settings`` are the place's own words, such as ``task.data_dir=/data``. Methods raise FileError, CertificateError.
    """

    home: Path
    federation: str
    address: str
    client: str
    task: dict[str, str]
    settings: Sequence[str] = ()
    insecure: bool = False

    @classmethod
    def read(cls, home: Path) -> Place:
        """Read a home that was made by ``write``; its path is made whole, for the worker has a folder of its own."""
        home = home.absolute()
        path = home / "place.json"
        fields = parse(read(path, LARGEST), path, KINDS, FileError)
        fields.pop("version")
        told = (fields["federation"], fields["address"], *fields["settings"], *fields["task"], *fields["task"].values())
        demand_readable(told, path, FileError)
        return cls(home=home, **{**fields, "client": checked_name(fields["client"])})

    def write(self) -> None:
        """Write down what was agreed."""
        make_folder(self.home)
        fields = {
            "version": VERSION,
            "federation": self.federation,
            "address": self.address,
            "client": self.client,
            "task": self.task,
            "settings": list(self.settings),
            "insecure": self.insecure,
        }
        replace(self.home / "place.json", json.dumps(fields, indent=1, ensure_ascii=False).encode() + b"\n")

    @property
    def spool(self) -> Path:
        return self.home / "spool"

    @property
    def state(self) -> Path:
        return self.home / "state"

    @property
    def bench(self) -> Path:
        return self.home / "work"

    @property
    def enrolled(self) -> bool:
        """Whether the device has a certificate."""
        return self.insecure or (self.home / "client.pem").exists()

    def trust(self) -> Trust:
        """Return how this device connects now."""
        if self.insecure:
            return Trust(address=self.address, client=self.client, ca=None)
        ca, chain, key = (read(self.home / name, LARGEST) for name in ("ca.pem", "client.pem", "client.key"))
        if read_peer(chain).key != _fingerprint(key):  # a renewal was interrupted between its two files
            (self.home / "next.key").replace(self.home / "client.key")
            key = read(self.home / "client.key", LARGEST)
        return Trust(address=self.address, client=self.client, ca=ca, chain=chain, key=key)

    def order(self, folder: Path, run: Sequence[str], fields: Sequence[str]) -> dict[str, Any]:
        """Return the worker's order for a request that lies in a folder, under a run's settings and fields."""
        own = [] if "name" in self.task else [f"task={self.task['file']}:{self.task['class']}"]
        node = [word.removeprefix(NODE) for word in self.settings if word.startswith(NODE)]
        return {
            "folder": str(folder),
            "run": list(run),
            "fields": list(fields),
            "place": [*own, *(word for word in self.settings if not word.startswith(NODE))],
            "node": node,
            "client": self.client,
            "state": str(self.state),
            "task": self.task,
        }

    def signing_request(self) -> bytes:
        """Return a signing request, PEM, for the device's first key; both keys are made when they are not there."""
        key, identity = self.home / "client.key", self.home / "identity.key"
        make_folder(self.home)
        if not identity.exists():
            replace(identity, key_pem(Ed25519PrivateKey.generate()), secret=True)
        if not key.exists():
            replace(key, key_pem(new_key()), secret=True)
        return signing_request(self.client, load_key(read(key, LARGEST)), load_identity(read(identity, LARGEST)))

    async def enrol(self, invitation: Invitation, now: float) -> None:
        """Get the first certificate, with the invitation's token and under its certificate."""
        trust = Trust(
            address=self.address,
            client=self.client,
            ca=invitation.ca,
            chain=invitation.certificate,
            key=invitation.key,
        )
        request = pb.EnrolRequest(token=invitation.token, signing_request=_der(self.signing_request()))
        self.accept(await trust.call("Enrol", request, now), invitation.ca)

    async def renew(self, now: float) -> None:
        """Get the next certificate, for a fresh key; the identity stays."""
        key, identity = new_key(), load_identity(read(self.home / "identity.key", LARGEST))
        request = pb.RenewRequest(signing_request=_der(signing_request(self.client, key, identity)))
        chain = await self.trust().call("Renew", request, now)
        _check(chain, self.client, key_pem(key))
        replace(self.home / "next.key", key_pem(key), secret=True)
        replace(self.home / "client.pem", chain)
        (self.home / "next.key").replace(self.home / "client.key")

    def accept(self, chain: bytes, ca: bytes) -> None:
        """Keep a first certificate for the device's key, and whom to trust; raises CertificateError for another's."""
        _check(chain, self.client, read(self.home / "client.key", LARGEST))
        replace(self.home / "ca.pem", ca)
        replace(self.home / "client.pem", chain)

    def due(self, now: float) -> bool:
        """Whether less than a third of the certificate's life is left."""
        if self.insecure:
            return False
        peer = read_peer(read(self.home / "client.pem", LARGEST))
        return now > peer.not_after - (peer.not_after - peer.not_before - BACK) / 3

    def until(self) -> str:
        """Say until when the certificate is good."""
        return day(read_peer(read(self.home / "client.pem", LARGEST)).not_after)


def approved(home: Path, task: str | TaskFile) -> dict[str, str]:
    """Lay an approved task down in a home; return how it is remembered."""
    if isinstance(task, str):
        return {"name": task}
    make_folder(home)
    path = home.resolve() / task.file
    replace(path, task.text.encode())
    return {"file": str(path), "class": task.class_name, "sha256": task.sha256}


def _check(chain: bytes, client: str, key: bytes) -> None:
    peer = read_peer(chain)
    if (peer.name, peer.key) != (client, _fingerprint(key)):
        raise FileError(f"the certificate is of {peer.name!r} and another key, not of this device: take the right one.")


def _fingerprint(key: bytes) -> str:
    return fingerprint(load_key(key).public_key())


def _der(pem: bytes) -> bytes:
    return x509.load_pem_x509_csr(pem).public_bytes(Encoding.DER)
