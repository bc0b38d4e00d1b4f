"""What names may be, what signing requests prove, and what a certificate says of its holder."""

from __future__ import annotations

import dataclasses
import stat
import subprocess
import sys
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding

from hansa.fedlink.authority import DAY, general_name, new_root
from hansa.fedlink.certificates import (
    CLIENT,
    INVITATION,
    PROOF,
    SERVER,
    checked_name,
    identity_extension,
    key_pem,
    load_identity,
    load_key,
    new_key,
    read_peer,
    uri,
)
from hansa.fedlink.errors import CertificateError
from hansa.fedlink.files import replace
from hansa.fedlink.signing import read_request, signing_request
from tests.identities import NOW, Device

ROOT = new_root("hanse", NOW)
ISSUER = ROOT.issuing("hanse", NOW)


@pytest.mark.parametrize("name", ["a", "Lübeck", "ward 3/b: Ω %", "x" * 128, "港"])
def test_a_name_comes_back_from_request_and_leaf(name):
    device = Device(name=name)
    asked = read_request(device.request())
    assert asked.name == name and asked.identity == device.identity.public_key().public_bytes_raw()
    peer = read_peer(ISSUER.client(asked, NOW, DAY).public_bytes(Encoding.PEM))
    assert (peer.role, peer.name, peer.identity) == (CLIENT, name, asked.identity)
    assert (peer.not_before, peer.not_after) == (NOW - 2 * DAY, NOW + DAY)
    assert peer.key == asked.fingerprint


@pytest.mark.parametrize(
    "name", ["", "x" * 129, "a\nb", "a\x00", " a", "a ", "a\u202eb", "a\u200bb", "\ud800", "a\x85"]
)
def test_other_names_are_refused_in_one_line(name):
    with pytest.raises(CertificateError, match=r"choose a(nother)? name") as error:
        checked_name(name)
    assert str(error.value).isprintable() and str(error.value).isascii()
    with pytest.raises(CertificateError):
        signing_request(name, new_key(), Ed25519PrivateKey.generate())


def test_roles_and_usages_of_leaves():
    server = ISSUER.server("coordinator.example.org", new_key().public_key(), NOW, DAY)
    names = server.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["coordinator.example.org"]
    assert read_peer(server.public_bytes(Encoding.DER)).role == SERVER
    invitation = ISSUER.leaf(INVITATION, "riga", new_key().public_key(), NOW, DAY)
    peer = read_peer(invitation.public_bytes(Encoding.DER))
    assert (peer.role, peer.name, peer.identity) == (INVITATION, "riga", None)


@pytest.mark.parametrize("host", ["", "a b", "münchen.de", "a..b", "x" * 64, "http://a", "a/b", "*"])
def test_a_host_that_is_none_is_refused(host):
    with pytest.raises(CertificateError, match="is no host"):
        general_name(host)


def proof_of(request: bytes) -> bytes:
    extensions = x509.load_pem_x509_csr(request).extensions
    value = extensions.get_extension_for_oid(PROOF).value
    assert isinstance(value, x509.UnrecognizedExtension)
    return value.value


def forged(*, name: str = "bergen", uris: tuple[str, ...] = (), proof: bytes | None = b"own", curve=None) -> bytes:
    """A request whose own signature holds and of which one thing is wrong."""
    key = ec.generate_private_key(curve or ec.SECP256R1())
    names = [x509.UniformResourceIdentifier(text) for text in uris or (uri(CLIENT, name),)]
    builder = x509.CertificateSigningRequestBuilder(x509.Name([])).add_extension(
        x509.SubjectAlternativeName(names), False
    )
    if proof == b"own":
        proof = proof_of(dataclasses.replace(Device(name=name), key=key).request())
    if proof is not None:
        builder = builder.add_extension(x509.UnrecognizedExtension(PROOF, proof), False)
    return builder.sign(key, hashes.SHA256()).public_bytes(Encoding.PEM)


@pytest.mark.parametrize(
    ("request_", "told"),
    [
        (forged(proof=proof_of(Device(name="bergen").request())), "is forged"),  # another's proof, on one's own key
        (forged(proof=b"\x04\x60" + bytes([7] * 96)), "is forged"),
        (forged(proof=b"\x04\x5f" + bytes(95)), "is broken"),
        (forged(proof=b""), "is broken"),
        (forged(proof=None), "not of a client"),
        (forged(uris=("hansa:server",)), "not of a client"),
        (forged(uris=("hansa:client:a", "hansa:client:b")), "not of a client"),
        (forged(uris=("hansa:client:%61",)), "not written as Hansa writes it"),
        (forged(uris=("hansa:client:%ff",)), "is broken"),
        (forged(uris=("hansa:client:a%0Ab",)), "invisible characters"),
        (forged(curve=ec.SECP384R1()), "not ECDSA P-256"),
        (b"", "is broken"),
        (b"-----BEGIN CERTIFICATE REQUEST-----\nMIIB\n-----END CERTIFICATE REQUEST-----\n", "is broken"),
        (b"x" * 20_000, "more than 16384 bytes"),
    ],
)
def test_a_request_that_proves_nothing_is_refused(request_, told):
    assert read_request(forged()).name == "bergen"
    with pytest.raises(CertificateError, match=told):
        read_request(request_)


SMALL = [
    "0000000000000000000000000000000000000000000000000000000000000000",
    "0100000000000000000000000000000000000000000000000000000000000000",
    "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
    "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
    "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
]
"""The Ed25519 keys of small order, also as they are not to be written; their signs are free."""


@pytest.mark.parametrize("small", SMALL)
@pytest.mark.parametrize("sign", [0, 0x80])
def test_an_identity_for_which_anyone_can_sign_is_refused(small, sign):
    """For such keys one constant signature holds for a message in eight or more often: so many are tried."""
    identity = bytearray.fromhex(small)
    identity[31] |= sign
    for _ in range(24):
        with pytest.raises(CertificateError, match="is forged"):
            read_request(forged(proof=b"\x04\x60" + bytes(identity) + b"\x01" + bytes(63)))


def test_a_request_that_was_altered_on_the_way_is_refused():
    der = x509.load_pem_x509_csr(Device(name="bergen").request()).public_bytes(Encoding.DER)
    altered = x509.load_der_x509_csr(der.replace(b"hansa:client:bergen", b"hansa:client:borgen"))
    with pytest.raises(CertificateError, match="is forged"):
        read_request(altered.public_bytes(Encoding.PEM))


def leaf(*extensions: x509.ExtensionType) -> bytes:
    """A certificate of another maker with these extensions."""
    key, start = new_key(), datetime.fromtimestamp(NOW, UTC)
    builder = x509.CertificateBuilder(x509.Name([]), x509.Name([]), key.public_key(), 1, start, start + timedelta(1))
    for extension in extensions:
        builder = builder.add_extension(extension, False)
    return builder.sign(key, hashes.SHA256()).public_bytes(Encoding.PEM)


CLIENT_URI = x509.SubjectAlternativeName([x509.UniformResourceIdentifier("hansa:client:a")])
SERVER_URI = x509.SubjectAlternativeName([x509.UniformResourceIdentifier("hansa:server")])
MAY_CALL = x509.ExtendedKeyUsage([x509.ExtendedKeyUsageOID.CLIENT_AUTH])
MAY_BOTH = x509.ExtendedKeyUsage([x509.ExtendedKeyUsageOID.CLIENT_AUTH, x509.ExtendedKeyUsageOID.SERVER_AUTH])
BOUND = identity_extension(bytes(32))


@pytest.mark.parametrize(
    "content",
    [
        b"nonsense",
        b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
        leaf(),
        leaf(CLIENT_URI, BOUND),
        leaf(CLIENT_URI, MAY_CALL),
        leaf(CLIENT_URI, MAY_BOTH, BOUND),
        leaf(SERVER_URI, MAY_CALL),
        leaf(x509.SubjectAlternativeName([x509.DNSName("a.org")]), MAY_CALL, BOUND),
        leaf(x509.SubjectAlternativeName([x509.UniformResourceIdentifier("hansa:root:a")]), MAY_CALL, BOUND),
    ],
)
def test_a_certificate_that_is_not_hansas_is_no_peer(content):
    assert read_peer(leaf(CLIENT_URI, MAY_CALL, BOUND)).name == "a"
    with pytest.raises(CertificateError):
        read_peer(content)


def test_keys_are_secret_from_their_first_byte_and_in_every_text(tmp_path):
    device = Device(name="bergen")
    pem = key_pem(device.key)
    replace(tmp_path / "key", pem, secret=True)
    assert stat.S_IMODE((tmp_path / "key").stat().st_mode) == 0o600
    assert load_key((tmp_path / "key").read_bytes()).private_numbers() == device.key.private_numbers()
    assert load_identity(key_pem(device.identity)).sign(b"") == device.identity.sign(b"")
    told = repr(ROOT) + repr(read_request(device.request()))
    for wrong in (key_pem(device.identity), pem[:-40], b""):
        with pytest.raises(CertificateError) as error:
            load_key(wrong)
        told += str(error.value)
    with pytest.raises(CertificateError) as error:
        load_identity(pem)
    told += str(error.value)
    assert "PRIVATE" not in told and pem.decode().splitlines()[1] not in told


def test_what_a_device_imports_stays_light():
    names = "authority certificates enrolment files folder invitation revocation signing tokens"
    code = f"import sys, {', '.join(f'hansa.fedlink.{name}' for name in names.split())}; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {m.split(".")[0] for m in done.stdout.split()} & {"grpc", "numpy", "torch", "hydra", "flwr", "rich"}
