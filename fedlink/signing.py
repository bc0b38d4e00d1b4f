"""Signing requests: a device asks for the certificate of a P-256 key, and proves that it has its identity key too.

The extension PROOF holds the identity's public half, then its signature over PROVES, a zero byte and the P-256 key as
SubjectPublicKeyInfo in DER. The request itself is signed by the P-256 key, so that both are proven and belong together.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding

from hansa.fedlink.certificates import (
    BROKEN,
    CLIENT,
    PROOF,
    bounded,
    checked_name,
    fingerprint,
    octets,
    private_extension,
    role_of,
    spki,
    subject,
    uri,
)
from hansa.fedlink.errors import CertificateError

PROVES = b"hansa: the holder of this identity asks for a certificate of the key"
FIELD = 2**255 - 19
EDWARDS_D = -121665 * pow(121666, -1, FIELD) % FIELD
"""Edwards25519: the prime of its field, and its constant d."""


@dataclass(frozen=True, kw_only=True)
class Request:
    """A signing request whose two signatures hold: who asks, and the public halves of both keys."""

    name: str
    key: ec.EllipticCurvePublicKey = field(repr=False)
    identity: bytes

    @property
    def fingerprint(self) -> str:
        return fingerprint(self.key)


def signing_request(name: str, key: ec.EllipticCurvePrivateKey, identity: Ed25519PrivateKey) -> bytes:
    """Ask, in PEM, for a client's certificate of a P-256 key, with proof that the identity key is at hand too."""
    mine = identity.public_key().public_bytes_raw()
    proof = mine + identity.sign(_proven(key.public_key()))
    return (
        x509.CertificateSigningRequestBuilder()
        .subject_name(subject(checked_name(name)))
        .add_extension(x509.SubjectAlternativeName([x509.UniformResourceIdentifier(uri(CLIENT, name))]), False)
        .add_extension(x509.UnrecognizedExtension(PROOF, octets(proof)), False)
        .sign(key, hashes.SHA256())
        .public_bytes(Encoding.PEM)
    )


def read_request(content: bytes) -> Request:
    """Read a signing request, PEM or DER, and check both its signatures; raises CertificateError."""
    load = x509.load_pem_x509_csr if content.startswith(b"-----BEGIN") else x509.load_der_x509_csr
    try:
        found = load(bounded(content, "signing request"))
        key, holds, extensions = found.public_key(), found.is_signature_valid, found.extensions
        proof = private_extension(extensions, PROOF, 96)
        role, name = role_of(extensions)
    except BROKEN:
        raise CertificateError("the signing request is broken: make a new one with hansa join.") from None
    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP256R1):
        raise CertificateError("the signing request's key is not ECDSA P-256: make a new one with hansa join.")
    if role != CLIENT or proof is None:
        raise CertificateError("the signing request is not of a client of Hansa: make a new one with hansa join.")
    if not holds or not _proves(proof, key):
        raise CertificateError("the signing request is forged: its signatures do not hold; make a new one.")
    return Request(name=name, key=key, identity=proof[:32])


def _proves(proof: bytes, key: ec.EllipticCurvePublicKey) -> bool:
    if _small_order(proof[:32]):
        return False
    try:
        Ed25519PublicKey.from_public_bytes(proof[:32]).verify(proof[32:], _proven(key))
    except (InvalidSignature, ValueError):
        return False
    return True


def _small_order(identity: bytes) -> bool:
    """Whether an Ed25519 key is one of the few for which anyone can write signatures: of order 1, 2, 4 or 8."""
    y = int.from_bytes(identity, "little") % 2**255
    return y * (y * y - 1) * (EDWARDS_D * y**4 + 2 * y * y - 1) % FIELD == 0


def _proven(key: ec.EllipticCurvePublicKey) -> bytes:
    return PROVES + b"\0" + spki(key)
