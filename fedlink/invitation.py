"""What is carried by hand: the invitation to a device, and the signing request of a device that cannot enrol itself."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives import hashes

from hansa.fedlink.authority import Authority, general_name
from hansa.fedlink.certificates import (
    INVITATION,
    checked_name,
    day,
    fingerprint,
    key_pem,
    load_certificate,
    load_key,
    new_key,
    read_peer,
)
from hansa.fedlink.errors import CertificateError, FileError, InvitationError
from hansa.fedlink.files import VERSION, checked, demand_readable, parse, read
from hansa.fedlink.plain import demand_plain, is_plain

LARGEST = 2**20
"""Bytes of an invitation."""
LARGEST_TASK = 2**19
"""Bytes of a task file."""
TOKEN = 32
"""Random bytes of a token."""

KINDS: dict[str, tuple[type, ...]] = {
    "version": (int,),
    "federation": (str,),
    "address": (str,),
    "ca": (str,),
    "ca_sha256": (str,),
    "client": (str,),
    "token": (str,),
    "expires": (int, float),
    "certificate": (str,),
    "key": (str,),
    "task": (dict,),
}
TASK_KINDS: dict[str, tuple[type, ...]] = {"file": (str,), "class": (str,), "text": (str,), "sha256": (str,)}
REQUEST_KINDS: dict[str, tuple[type, ...]] = {
    "version": (int,),
    "federation": (str, type(None)),
    "name": (str,),
    "request": (str,),
}


@dataclass(frozen=True, kw_only=True)
class TaskFile:
    """A task's Python file: its name without folders, the class in it, its text."""

    file: str
    class_name: str
    text: str = field(repr=False)

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.text.encode()).hexdigest()


@dataclass(frozen=True, kw_only=True)
class Invitation:
    """All that a device needs to enrol: where the coordinator is, whom to trust, a one-time token, what will be learnt.

    ``certificate`` (PEM chain) and ``key`` let it connect until ``expires`` (seconds since 1970), to enrol and no more.
    """

    federation: str
    address: str
    ca: bytes
    client: str
    token: str = field(repr=False)
    expires: float
    certificate: bytes = field(repr=False)
    key: bytes = field(repr=False)
    task: str | TaskFile
    """The name of a built-in task, or a file of one's own."""


def invite(
    authority: Authority,
    *,
    federation: str,
    address: str,
    ca: bytes,
    client: str,
    token: bytes,
    task: str | TaskFile,
    now: float,
    seconds: float,
) -> Invitation:
    """Make an invitation that lasts so many seconds; ``token`` is 32 random bytes. Raises CertificateError."""
    key = new_key()
    leaf = authority.leaf(INVITATION, client, key.public_key(), now, seconds)
    return Invitation(
        federation=checked_name(federation),
        address=address,
        ca=ca,
        client=client,
        token=base64.b64encode(token).decode(),
        expires=leaf.not_valid_after_utc.timestamp(),
        certificate=authority.pem(leaf),
        key=key_pem(key),
        task=task,
    )


def write_invitation(invitation: Invitation) -> bytes:
    """Return an invitation's file; it is a secret. Raises InvitationError where it would be too large."""
    fields = {
        "version": VERSION,
        "federation": invitation.federation,
        "address": invitation.address,
        "ca": invitation.ca.decode(),
        "ca_sha256": ca_fingerprint(invitation.ca),
        "client": invitation.client,
        "token": invitation.token,
        "expires": invitation.expires,
        "certificate": invitation.certificate.decode(),
        "key": invitation.key.decode(),
        "task": task_fields(invitation.task),
    }
    content = json.dumps(fields, indent=1, ensure_ascii=False).encode() + b"\n"
    if len(content) > LARGEST:
        raise InvitationError(f"the invitation would have more than {LARGEST:,} bytes: shorten the task file.")
    return content


def read_invitation(path: Path, now: float) -> Invitation:
    """Read an invitation and check all of it; raises InvitationError."""
    content = read(path, LARGEST, InvitationError)
    where = f"the invitation {path}"
    fields = parse(content, where, KINDS, InvitationError)
    try:
        invitation = _invitation(fields, where)
        _check(invitation, fields["ca_sha256"])
    except CertificateError as error:
        raise InvitationError(f"{where} was cut or altered, ask for a new one: {error}") from None
    if now >= invitation.expires:
        raise InvitationError(
            f"{where} was good until {day(invitation.expires)} and this device's clock says {day(now)}: "
            "ask for a new one, or set the clock."
        )
    return invitation


def ca_fingerprint(ca: bytes) -> str:
    """Return the SHA-256 of a certificate, as ``openssl x509 -fingerprint -sha256`` does; raises CertificateError."""
    return load_certificate(ca).fingerprint(hashes.SHA256()).hex()


def split_address(address: str, kind: type[Exception] = InvitationError) -> tuple[str, int]:
    """Return host and port of an address; raises the kind of error, or CertificateError for an impossible host.

    >>> split_address("coordinator.example.org:8443")
    ('coordinator.example.org', 8443)
    >>> split_address("[::1]:8443")
    ('::1', 8443)
    """
    host, _, port = address.rpartition(":")
    bare = host.removeprefix("[").removesuffix("]")
    right = port.isascii() and port.isdigit() and len(port) <= 5 and 0 < int(port) < 2**16
    if not right or not host or (":" in host) != (host != bare):
        raise kind(f"{address[:80]!a} is no address: write host:port, as in coordinator.example.org:8443.")
    general_name(bare)
    return bare, int(port)


def task_fields(task: str | TaskFile) -> dict[str, str]:
    """Write a task as an object of JSON."""
    if isinstance(task, str):
        return {"name": task}
    return {"file": task.file, "class": task.class_name, "text": task.text, "sha256": task.sha256}


def read_task(fields: object, where: str, kind: type[FileError] = InvitationError) -> str | TaskFile:
    """Read what ``task_fields`` wrote and check its hash and names; raises the kind of FileError."""
    if isinstance(fields, dict) and "name" in fields:
        name = str(checked(fields, where, {"name": (str,)}, kind)["name"])
        if not name.isidentifier() or len(name) > 100:
            raise kind(f"{where} is no task's name: it was altered; restore it, or ask for a new one.")
        return name
    fields = checked(fields, where, TASK_KINDS, kind)
    task = TaskFile(file=fields["file"], class_name=fields["class"], text=fields["text"])
    shows = is_plain(task.file + task.class_name)
    if not shows or not re.fullmatch(r"\w[\w.-]{0,95}\.py", task.file) or not task.class_name.isidentifier():
        raise kind(f"{where} names no Python file and class: it was altered; restore it, or ask for a new one.")
    if len(task.text.encode()) > LARGEST_TASK or task.sha256 != fields["sha256"]:
        raise kind(f"{where}: the file's text is not that of its SHA-256: it was altered; ask for a new one.")
    demand_readable((task.file, task.class_name), where, kind)
    demand_plain(task.text, f"{where}, {task.file}", kind)
    return task


def request_file(name: str, request: bytes, federation: str | None) -> bytes:
    """Return the file in which a device that cannot enrol over the link asks for a certificate; it is no secret."""
    fields = {"version": VERSION, "federation": federation, "name": name, "request": request.decode()}
    return json.dumps(fields, indent=1, ensure_ascii=False).encode() + b"\n"


def read_request_file(path: Path) -> tuple[str, bytes, str | None]:
    """Return name, signing request and federation of such a file; raises FileError."""
    where = f"the request {path}"
    fields = parse(read(path, 2**16), where, REQUEST_KINDS, FileError)
    demand_readable((fields["name"], fields["federation"] or ""), where, FileError)
    return fields["name"], fields["request"].encode(), fields["federation"]


def _invitation(fields: dict[str, Any], where: str) -> Invitation:
    return Invitation(
        federation=checked_name(fields["federation"]),
        address=fields["address"],
        ca=fields["ca"].encode(),
        client=checked_name(fields["client"]),
        token=fields["token"],
        expires=float(fields["expires"]),
        certificate=fields["certificate"].encode(),
        key=fields["key"].encode(),
        task=read_task(fields["task"], f"{where}: its task"),
    )


def _check(invitation: Invitation, ca_sha256: str) -> None:
    """See that the parts belong together; raises CertificateError."""
    split_address(invitation.address, CertificateError)
    if ca_fingerprint(invitation.ca) != ca_sha256:
        raise CertificateError("its CA is not that of the fingerprint.")
    peer = read_peer(invitation.certificate)
    if (peer.role, peer.name) != (INVITATION, invitation.client):
        raise CertificateError("its certificate is of another client.")
    if fingerprint(load_key(invitation.key).public_key()) != peer.key:
        raise CertificateError("its key is not that of its certificate.")
    if invitation.expires != peer.not_after:
        raise CertificateError("its end is not that of its certificate.")
    if len(_unbase64(invitation.token)) != TOKEN:
        raise CertificateError("its token is not whole.")


def _unbase64(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except ValueError:
        return b""
