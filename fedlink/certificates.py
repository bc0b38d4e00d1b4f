"""Who is who on the link: names, roles, keys, and what a peer's certificate says.

A leaf is ECDSA P-256. Its role and name stand in a URI of its subject alternative names: ``hansa:server``,
``hansa:client:<name>`` or ``hansa:invitation:<name>``, the name percent-encoded. A client also has an Ed25519 identity
key, which outlives its certificates. Two private extensions bind it, each an OCTET STRING:

    PROOF     in a signing request, see ``signing``: the identity's public half (32 bytes), its signature (64 bytes)
    IDENTITY  in a client's leaf: the identity's public half (32 bytes)
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote, unquote

from cryptography import x509
from cryptography.exceptions import InternalError, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from hansa.fedlink.errors import CertificateError
from hansa.fedlink.texts import plain

SERVER, CLIENT, INVITATION = "server", "client", "invitation"
USAGES = {
    SERVER: ExtendedKeyUsageOID.SERVER_AUTH,
    CLIENT: ExtendedKeyUsageOID.CLIENT_AUTH,
    INVITATION: ExtendedKeyUsageOID.CLIENT_AUTH,
}
"""What a role's leaf may be used for: a client can never pass for the server."""
SCHEME = "hansa:"
ARC = "2.25.288890636977735147994858186970870069977"
PROOF, IDENTITY = x509.ObjectIdentifier(f"{ARC}.1"), x509.ObjectIdentifier(f"{ARC}.2")
LONGEST = 128
"""Characters of a name."""
SERIAL = re.compile(r"[0-9a-f]{1,64}")
"""A certificate's serial number, as files have it."""
LAST = 253_402_300_799.0
"""The last second of the year 9999, after which there are no dates."""
MOST = 2**14
"""Bytes of a certificate or signing request."""
BROKEN = (
    ValueError,
    TypeError,
    InternalError,
    UnsupportedAlgorithm,
    x509.DuplicateExtension,
    x509.ExtensionNotFound,
    x509.InvalidVersion,
    x509.UnsupportedGeneralNameType,
)
"""What cryptography raises for bytes that are no certificate, request or key."""


def checked_name(name: str) -> str:
    """Return a name of 1 to 128 characters, all of them visible or a plain space; raises CertificateError.

    >>> checked_name("Lübeck")
    'Lübeck'
    """
    if not 1 <= len(name) <= LONGEST:
        raise CertificateError(f"a name has 1 to {LONGEST} characters, not {len(name)}: choose another name.")
    if not plain(name, 4 * LONGEST) or name != name.strip():
        raise CertificateError(
            f"the name {name!a} has invisible characters, or spaces at its ends: choose a name that one can read."
        )
    return name


def uri(role: str, name: str) -> str:
    """Return the URI of a role and name.

    >>> uri("client", "Lübeck")
    'hansa:client:L%C3%BCbeck'
    """
    return f"{SCHEME}{role}" if role == SERVER else f"{SCHEME}{role}:{quote(checked_name(name), safe='')}"


def day(seconds: float) -> str:
    """Write a time, in seconds since 1970, for a message; one outside of the calendar as its first or last day.

    >>> day(0.0), day(1e300)
    ('1970-01-01 00:00 UTC', '9999-12-31 00:00 UTC')
    """
    first, last = (datetime(year, 12, 31, tzinfo=UTC).timestamp() for year in (1, 9999))
    return f"{datetime.fromtimestamp(min(last, max(first, seconds)), UTC):%Y-%m-%d %H:%M} UTC"


@dataclass(frozen=True, kw_only=True)
class Peer:
    """What a certificate says of its holder; times in seconds since 1970. A server's ``name`` is empty."""

    role: str
    name: str
    serial: int
    not_before: float
    not_after: float
    key: str
    """SHA-256 of the certified public key."""
    identity: bytes | None
    """The Ed25519 identity's public half, 32 bytes; clients only."""


def new_key() -> ec.EllipticCurvePrivateKey:
    """Make a P-256 key."""
    return ec.generate_private_key(ec.SECP256R1())


def key_pem(key: ec.EllipticCurvePrivateKey | Ed25519PrivateKey | rsa.RSAPrivateKey) -> bytes:
    """Write a private key as PEM, unencrypted: a file of it is written with ``files.replace(..., secret=True)``."""
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def load_identity(pem: bytes) -> Ed25519PrivateKey:
    """Read an Ed25519 identity key; raises CertificateError."""
    key = _private(pem)
    if not isinstance(key, Ed25519PrivateKey):
        raise CertificateError("the identity key is broken or not Ed25519: restore its file, or ask for an invitation.")
    return key


def load_key(pem: bytes) -> ec.EllipticCurvePrivateKey:
    """Read a P-256 key; raises CertificateError."""
    key = _private(pem)
    if not isinstance(key, ec.EllipticCurvePrivateKey) or not isinstance(key.curve, ec.SECP256R1):
        raise CertificateError("the private key is broken or not of P-256: restore its file, or make a new one.")
    return key


def fingerprint(key: Any) -> str:
    """Return the SHA-256 of a public key's SubjectPublicKeyInfo."""
    return hashlib.sha256(spki(key)).hexdigest()


def read_peer(content: bytes) -> Peer:
    """Read what a certificate (PEM or DER) says; its signature is for TLS to check. Raises CertificateError."""
    try:
        return peer_of(load_certificate(content))
    except BROKEN:
        raise CertificateError("the certificate is not Hansa's: make one with hansa provision.") from None


def peer_of(certificate: x509.Certificate) -> Peer:
    """Return what a certificate says of its holder; raises CertificateError or what BROKEN lists."""
    extensions = certificate.extensions
    role, name = role_of(extensions)
    usage = [*extensions.get_extension_for_class(x509.ExtendedKeyUsage).value] if role else []
    identity = private_extension(extensions, IDENTITY, 32)
    if role not in USAGES or usage != [USAGES[role]] or (identity is None) == (role == CLIENT):
        raise CertificateError("the certificate is not of a server or client of Hansa: make one with hansa provision.")
    return Peer(
        role=role,
        name=name,
        serial=certificate.serial_number,
        not_before=certificate.not_valid_before_utc.timestamp(),
        not_after=certificate.not_valid_after_utc.timestamp(),
        key=fingerprint(certificate.public_key()),
        identity=identity,
    )


def load_certificate(content: bytes) -> x509.Certificate:
    """Read one certificate, PEM (the first of several) or DER; raises CertificateError."""
    try:
        if b"-----BEGIN" in bounded(content, "certificate"):
            return x509.load_pem_x509_certificate(content)
        return x509.load_der_x509_certificate(content)
    except BROKEN:
        raise CertificateError("the certificate is broken: restore its file, or make a new one.") from None


def subject(text: str) -> x509.Name:
    """Return a subject for people to read; it holds the first 64 bytes of the text, and nothing is decided by it."""
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text.encode()[:64].decode(errors="ignore"))])


def identity_extension(identity: bytes) -> x509.UnrecognizedExtension:
    """Return the extension of a leaf that binds an identity."""
    return x509.UnrecognizedExtension(IDENTITY, octets(identity))


def role_of(extensions: x509.Extensions) -> tuple[str, str]:
    """Return role and name from the one URI of Hansa's; two empty texts where there is none."""
    try:
        names = extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return "", ""
    ours = [u for u in names.get_values_for_type(x509.UniformResourceIdentifier) if u.startswith(SCHEME)]
    if len(ours) != 1:
        return "", ""
    role, _, encoded = ours[0].removeprefix(SCHEME).partition(":")
    name = unquote(encoded, errors="strict")
    if ours[0] != uri(role, name):
        raise CertificateError("the certificate's name is not written as Hansa writes it: make a new one.")
    return role, name


def private_extension(extensions: x509.Extensions, oid: x509.ObjectIdentifier, length: int) -> bytes | None:
    found = [extension.value for extension in extensions if extension.oid == oid]
    if not found:
        return None
    value = found[0].value if isinstance(found[0], x509.UnrecognizedExtension) else b""
    if value[:-length] != octets(bytes(length))[:-length]:
        raise ValueError(oid)
    return value[-length:]


def octets(content: bytes) -> bytes:
    """Write up to 127 bytes as a DER OCTET STRING."""
    return bytes([4, len(content)]) + content


def spki(key: Any) -> bytes:
    content: bytes = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return content


def _private(pem: bytes) -> object:
    try:
        return load_pem_private_key(pem, None)
    except BROKEN:
        return None


def bounded(content: bytes, called: str) -> bytes:
    if len(content) > MOST:
        raise CertificateError(f"the {called} has more than {MOST} bytes: that is none of Hansa's.")
    return content
