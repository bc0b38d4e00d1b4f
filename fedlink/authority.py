"""Certificate authorities: a root, an issuing one below it, and the leaves that either signs.

    root (its key may be kept off the coordinator) -> issuer (lives with the coordinator; optional) -> leaves

Each certificate names its signer's key (AuthorityKeyIdentifier), so that two authorities of one subject are told apart.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key

from hansa.fedlink.certificates import (
    BROKEN,
    CLIENT,
    SERVER,
    USAGES,
    day,
    fingerprint,
    identity_extension,
    load_certificate,
    new_key,
    subject,
    uri,
)
from hansa.fedlink.errors import CertificateError
from hansa.fedlink.signing import Request

DAY = 86_400.0
BACK = 2 * DAY
"""How long before its making a certificate begins, for devices whose clocks are behind."""
"""Seconds by which a certificate is dated back: a device whose clock is a day behind connects, and can be told."""
YEARS = 10 * 365 * DAY
"""Seconds that a fresh authority is valid."""
Hash = hashes.SHA256 | hashes.SHA384 | hashes.SHA512
CURVES: dict[str, Hash] = {
    "secp256r1": hashes.SHA256(),
    "secp384r1": hashes.SHA384(),
    "secp521r1": hashes.SHA512(),
}

Key = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey


@dataclass(frozen=True, kw_only=True)
class Authority:
    """A certificate authority with its key; ``chain`` is what a leaf of it is followed by, less the root."""

    certificate: x509.Certificate
    key: Key = field(repr=False)
    chain: tuple[x509.Certificate, ...] = ()

    def issuing(self, name: str, now: float) -> Authority:
        """Make an authority below this one that can sign leaves only; raises CertificateError."""
        if self.certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.path_length == 0:
            raise CertificateError("the CA allows no CA below it: give issuer=false, or another CA.")
        key = new_key()
        builder = _authority(
            f"{name} issuer", key.public_key(), self.certificate.subject, now, self._until(now, YEARS), 0
        )
        certificate = builder.add_extension(self._signer(), False).sign(self.key, _hash(self.key))
        return Authority(certificate=certificate, key=key, chain=(certificate, *self.chain))

    def client(self, request: Request, now: float, seconds: float) -> x509.Certificate:
        """Sign a client's request; raises CertificateError."""
        return self.leaf(CLIENT, request.name, request.key, now, seconds, identity=request.identity)

    def server(self, host: str, key: ec.EllipticCurvePublicKey, now: float, seconds: float) -> x509.Certificate:
        """Sign a server's leaf for a host's name or address; raises CertificateError."""
        return self.leaf(SERVER, "", key, now, seconds, hosts=(general_name(host),))

    def leaf(
        self,
        role: str,
        name: str,
        key: ec.EllipticCurvePublicKey,
        now: float,
        seconds: float,
        *,
        hosts: Sequence[x509.GeneralName] = (),
        identity: bytes | None = None,
    ) -> x509.Certificate:
        """Sign a leaf that is valid for so many seconds, but not longer than this authority."""
        names = [x509.UniformResourceIdentifier(uri(role, name)), *hosts]
        builder = (
            _certificate(name or "hansa server", key, self.certificate.subject, now, self._until(now, seconds))
            .add_extension(x509.BasicConstraints(False, None), True)
            .add_extension(_usage(leaf=True), True)
            .add_extension(x509.ExtendedKeyUsage([USAGES[role]]), False)
            .add_extension(x509.SubjectAlternativeName(names), False)
            .add_extension(self._signer(), False)
        )
        if identity is not None:
            builder = builder.add_extension(identity_extension(identity), False)
        return builder.sign(self.key, _hash(self.key))

    def pem(self, leaf: x509.Certificate) -> bytes:
        """Return a leaf of this authority followed by its chain, as TLS wants it."""
        return b"".join(certificate.public_bytes(Encoding.PEM) for certificate in (leaf, *self.chain))

    def _until(self, now: float, seconds: float) -> float:
        end = self.certificate.not_valid_after_utc.timestamp()
        if end <= now:
            raise CertificateError(f"the certificate authority ended on {day(end)}: provision a new federation.")
        return min(now + seconds, end)

    def _signer(self) -> x509.AuthorityKeyIdentifier:
        try:
            own = self.certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
        except x509.ExtensionNotFound:
            return x509.AuthorityKeyIdentifier.from_issuer_public_key(self.key.public_key())
        return x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(own)


def new_root(name: str, now: float) -> Authority:
    """Make a root, with one issuing authority below it at most."""
    key = new_key()
    own, ski = subject(f"{name} root"), x509.SubjectKeyIdentifier.from_public_key(key.public_key())
    builder = _authority(f"{name} root", key.public_key(), own, now, now + YEARS, 1)
    signer = x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(ski)
    return Authority(certificate=builder.add_extension(signer, False).sign(key, hashes.SHA256()), key=key)


def load_root(certificate: bytes, key: bytes, now: float) -> Authority:
    """Take an existing root, PEM certificate and PEM key (P-256, P-384, P-521 or RSA); raises CertificateError."""
    root = check_root(certificate, now)
    return Authority(certificate=root, key=_matching(root, key))


def check_root(certificate: bytes, now: float) -> x509.Certificate:
    """Read a root and see that devices can trust it: self-signed, an authority, valid now; raises CertificateError."""
    root = load_certificate(certificate)
    try:
        if root.issuer != root.subject:
            raise CertificateError(
                "the CA is signed by another, it is not a root: give the root, or let Hansa make one."
            )
        root.verify_directly_issued_by(root)
    except (*BROKEN, InvalidSignature):
        raise CertificateError("the CA's certificate does not hold its own signature: give another file.") from None
    if not _may_sign(root):
        raise CertificateError("the CA's certificate may not sign certificates: give an authority's, not a server's.")
    if not root.not_valid_before_utc.timestamp() <= now < root.not_valid_after_utc.timestamp():
        raise CertificateError(f"the CA is valid until {day(root.not_valid_after_utc.timestamp())}: give a valid one.")
    return root


def load_issuer(certificate: bytes, key: bytes) -> Authority:
    """Read an issuing authority that ``issuing`` made; raises CertificateError."""
    issuer = load_certificate(certificate)
    return Authority(certificate=issuer, key=_matching(issuer, key), chain=(issuer,))


def general_name(host: str) -> x509.GeneralName:
    """Return the subject alternative name of a host's name or IP address; raises CertificateError."""
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        pass
    parts = host.split(".")
    if len(host) > 253 or not all(0 < len(p) < 64 and p.isascii() and p.replace("-", "a").isalnum() for p in parts):
        raise CertificateError(
            f"{host[:80]!a} is no host: write its name in ASCII letters (xn--...) or its IP address."
        )
    return x509.DNSName(host)


def _matching(certificate: x509.Certificate, pem: bytes) -> Key:
    try:
        key = load_pem_private_key(pem, None)
    except TypeError:
        raise CertificateError("the CA's key has a passphrase: decrypt it first, with openssl pkey -in KEY.") from None
    except BROKEN:
        raise CertificateError("the CA's key is no private key in PEM: give another file.") from None
    if not isinstance(key, ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey) or not _strong(key):
        raise CertificateError("the CA's key must be of P-256, P-384, P-521, or RSA of 2048 bits or more.")
    if fingerprint(key.public_key()) != fingerprint(certificate.public_key()):
        raise CertificateError("the CA's key is not that of its certificate: give the two that belong together.")
    return key


def _strong(key: Key) -> bool:
    return key.key_size >= 2048 if isinstance(key, rsa.RSAPrivateKey) else key.curve.name in CURVES


def _hash(key: Key) -> Hash:
    return hashes.SHA256() if isinstance(key, rsa.RSAPrivateKey) else CURVES[key.curve.name]


def _may_sign(certificate: x509.Certificate) -> bool:
    try:
        extensions = certificate.extensions
        basic = extensions.get_extension_for_class(x509.BasicConstraints).value
        return basic.ca and extensions.get_extension_for_class(x509.KeyUsage).value.key_cert_sign
    except BROKEN:
        return False


def _authority(
    text: str, key: ec.EllipticCurvePublicKey, issuer: x509.Name, now: float, until: float, below: int
) -> x509.CertificateBuilder:
    return (
        _certificate(text, key, issuer, now, until)
        .add_extension(x509.BasicConstraints(True, below), True)
        .add_extension(_usage(leaf=False), True)
    )


def _certificate(
    text: str, key: ec.EllipticCurvePublicKey, issuer: x509.Name, now: float, until: float
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject(text))
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(datetime.fromtimestamp(now - BACK, UTC))
        .not_valid_after(datetime.fromtimestamp(until, UTC))
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), False)
    )


def _usage(*, leaf: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=leaf,
        key_cert_sign=not leaf,
        crl_sign=not leaf,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )
