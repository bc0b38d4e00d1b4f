"""Certificates as TLS sees them: real handshakes, mutual and of version 1.3, on loopback, by OpenSSL and by gRPC."""

from __future__ import annotations

import ssl
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import grpc
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, NoEncryption, PrivateFormat
from cryptography.x509.verification import PolicyBuilder, Store, VerificationError

from hansa.fedlink.authority import DAY, Authority, general_name, load_issuer, load_root, new_root
from hansa.fedlink.certificates import CLIENT, INVITATION, key_pem, new_key, read_peer
from hansa.fedlink.errors import CertificateError
from tests.identities import NOW, Side, client_side, handshake, pem, server_side

TODAY = time.time()
KEYS = {
    "rsa": lambda: rsa.generate_private_key(65537, 2048),
    "p384": lambda: ec.generate_private_key(ec.SECP384R1()),
}


def certificate(key, start: float, *, ca: bool = True, below: int | None = None, issuer: str = "Town CA", days=900):
    """A root as a town's own office might have made it: without key identifiers."""
    named = [x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, text)]) for text in ("Town CA", issuer)]
    begin = datetime.fromtimestamp(start, UTC)
    usage = [False] * 5 + [ca, ca, False, False]
    builder = x509.CertificateBuilder(named[1], named[0], key.public_key(), 7, begin, begin + timedelta(days))
    builder = builder.add_extension(x509.BasicConstraints(ca, below), True).add_extension(x509.KeyUsage(*usage), True)
    return builder.sign(key, hashes.SHA256()).public_bytes(Encoding.PEM)


def own_root(kind: str, now: float) -> Authority:
    key = KEYS[kind]()
    return load_root(certificate(key, now - DAY), own_key(key), now)


def own_key(key, encryption=None) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption or NoEncryption())


def signers() -> Iterator[tuple[str, Authority, Authority]]:
    for name, root in {"fresh": new_root("hanse", TODAY), **{kind: own_root(kind, TODAY) for kind in KEYS}}.items():
        yield f"{name} root", root, root
        yield f"issuer below {name}", root, root.issuing("hanse", TODAY)


SIGNERS = {name: (root, signer) for name, root, signer in signers()}


@pytest.mark.parametrize("name", SIGNERS)
def test_a_client_and_a_server_of_one_federation_shake_hands(tmp_path, name):
    root, signer = SIGNERS[name]
    peer = handshake(tmp_path, server_side(signer, TODAY), client_side(signer, TODAY, "Lübeck"), pem(root))
    assert (peer.role, peer.name) == (CLIENT, "Lübeck")


@pytest.mark.parametrize("name", ["fresh root", "issuer below fresh"])
def test_chains_satisfy_the_rules_of_the_web(name):
    """The rules for key identifiers, criticality and the like; a root of one's own need not keep them."""
    root, signer = SIGNERS[name]
    policy = PolicyBuilder().store(Store([root.certificate])).time(datetime.fromtimestamp(TODAY, UTC))
    for side in (client_side(signer, TODAY), client_side(signer, TODAY, "x" * 128)):
        leaf, *below = x509.load_pem_x509_certificates(side.chain)
        policy.build_client_verifier().verify(leaf, below)
    leaf, *below = x509.load_pem_x509_certificates(server_side(signer, TODAY, "coordinator.example.org").chain)
    policy.build_server_verifier(x509.DNSName("coordinator.example.org")).verify(leaf, below)
    with pytest.raises(VerificationError, match="EKU"):
        policy.build_client_verifier().verify(leaf, below)


ROOT, ISSUER = SIGNERS["issuer below fresh"]


@pytest.mark.parametrize("days", [-1, 1])
def test_a_clock_a_day_off_still_connects(tmp_path, days):
    """A certificate made a day later by the coordinator's clock is what a device a day behind is shown."""
    then = TODAY + days * DAY
    root = new_root("hanse", then)
    handshake(tmp_path, server_side(root, then), client_side(root, then), pem(root))


@pytest.mark.parametrize(("days", "told"), [(-100, "expired"), (3, "not yet valid")])
def test_a_certificate_out_of_its_time_is_refused(tmp_path, days, told):
    made = TODAY + days * DAY
    root = new_root("hanse", TODAY - 200 * DAY)
    with pytest.raises(ssl.SSLCertVerificationError, match=told):
        handshake(tmp_path, server_side(root, TODAY), client_side(root, made), pem(root))
    with pytest.raises(ssl.SSLCertVerificationError, match=told):
        handshake(tmp_path, server_side(root, made), client_side(root, TODAY), pem(root))


def as_server() -> Side:
    """A client's leaf that even names the host, as no registrar would sign it."""
    key = new_key()
    host = [general_name("127.0.0.1")]
    leaf = ISSUER.leaf(CLIENT, "bergen", key.public_key(), TODAY, DAY, hosts=host, identity=bytes(32))
    return Side(ISSUER.pem(leaf), key_pem(key))


def test_a_client_cannot_pass_for_the_server_nor_the_server_for_a_client(tmp_path):
    with pytest.raises(ssl.SSLCertVerificationError, match="purpose"):
        handshake(tmp_path, as_server(), client_side(ISSUER, TODAY), pem(ROOT))
    with pytest.raises(ssl.SSLCertVerificationError, match="purpose"):
        handshake(tmp_path, server_side(ISSUER, TODAY), server_side(ISSUER, TODAY), pem(ROOT))


def test_a_server_of_another_host_is_refused(tmp_path):
    with pytest.raises(ssl.SSLCertVerificationError, match="mismatch"):
        handshake(tmp_path, server_side(ISSUER, TODAY, "localhost"), client_side(ISSUER, TODAY), pem(ROOT))


def test_two_federations_of_one_name_do_not_mix_and_can_be_trusted_together(tmp_path):
    """Both roots have one subject; a bundle of both must find the right one by its key, in either order."""
    other = new_root("hanse", TODAY)
    assert other.certificate.subject == ROOT.certificate.subject
    with pytest.raises(ssl.SSLError):
        handshake(tmp_path, server_side(ISSUER, TODAY), client_side(other, TODAY), pem(ROOT))
    for bundle in (pem(ROOT) + pem(other), pem(other) + pem(ROOT)):
        for signer in (ISSUER, other, other.issuing("hanse", TODAY)):
            handshake(tmp_path, server_side(ISSUER, TODAY), client_side(signer, TODAY), bundle)


def test_a_leaf_signs_nothing(tmp_path):
    side = client_side(ISSUER, TODAY)
    leaf = x509.load_pem_x509_certificate(side.chain)
    key = Authority(certificate=leaf, key=new_key(), chain=(leaf, *ISSUER.chain))
    with pytest.raises(ssl.SSLError):
        handshake(tmp_path, server_side(ISSUER, TODAY), client_side(key, TODAY), pem(ROOT))
    with pytest.raises(CertificateError, match="allows no CA below"):
        ISSUER.issuing("hanse", TODAY)


def test_leaves_end_with_their_authority_and_never_after():
    end = ROOT.certificate.not_valid_after_utc.timestamp()
    chain = client_side(ISSUER, end - DAY).chain
    assert read_peer(chain).not_after == end
    with pytest.raises(CertificateError, match="the certificate authority ended on"):
        client_side(ISSUER, end)


def altered(content: bytes) -> bytes:
    """The same certificate but for one letter of its subject, which is no text any more."""
    der = x509.load_pem_x509_certificate(content).public_bytes(Encoding.DER)
    return x509.load_der_x509_certificate(der[::-1].replace(b"AC nwoT", b"AC \xffwoT", 1)[::-1]).public_bytes(
        Encoding.PEM
    )


EC = ec.generate_private_key(ec.SECP256R1())
NAME, START = x509.Name([]), datetime.fromtimestamp(NOW, UTC)


@pytest.mark.parametrize(
    ("ca", "key", "told"),
    [
        (certificate(EC, NOW), own_key(new_key()), "not that of its certificate"),
        (certificate(EC, NOW, ca=False), own_key(EC), "may not sign certificates"),
        (certificate(EC, NOW, issuer="Other CA"), own_key(EC), "it is not a root"),
        (certificate(EC, NOW - 901 * DAY), own_key(EC), "give a valid one"),
        (certificate(EC, NOW), own_key(EC, BestAvailableEncryption(b"open sesame")), "has a passphrase"),
        (certificate(EC, NOW), b"nonsense", "is no private key"),
        (b"nonsense", own_key(EC), "is broken"),
        (altered(certificate(EC, NOW)), own_key(EC), "does not hold its own signature"),
    ],
)
def test_an_authority_of_ones_own_that_will_not_do_is_refused(ca, key, told):
    assert load_root(certificate(EC, NOW), own_key(EC), NOW)
    with pytest.raises(CertificateError, match=told) as error:
        load_root(ca, key, NOW)
    assert "PRIVATE" not in str(error.value) and "\n" not in str(error.value)


def test_an_authority_of_a_weak_key_or_that_allows_none_below_is_refused():
    weak = ec.generate_private_key(ec.SECP224R1())
    with pytest.raises(CertificateError, match="must be of P-256, P-384, P-521, or RSA"):
        load_root(certificate(weak, NOW), own_key(weak), NOW)
    bare = x509.CertificateBuilder(NAME, NAME, EC.public_key(), 1, START, START + timedelta(1)).sign(
        EC, hashes.SHA256()
    )
    with pytest.raises(CertificateError, match="may not sign certificates"):
        load_root(bare.public_bytes(Encoding.PEM), own_key(EC), NOW)
    root = load_root(certificate(EC, NOW, below=0), own_key(EC), NOW)
    with pytest.raises(CertificateError, match="issuer=false"):
        root.issuing("hanse", NOW)


def test_an_issuer_is_read_back_and_signs_as_before(tmp_path):
    issuer = load_issuer(ISSUER.certificate.public_bytes(Encoding.PEM), key_pem(ISSUER.key))
    handshake(tmp_path, server_side(issuer, TODAY), client_side(issuer, TODAY), pem(ROOT))


@pytest.fixture
def grpc_port() -> Iterator[int]:
    """A gRPC server under mutual TLS that answers with its peer's certificate."""

    def seen(_: bytes, context: grpc.ServicerContext) -> bytes:
        return context.auth_context()["x509_pem_cert"][0]

    side = server_side(ISSUER, TODAY)
    handler = grpc.method_handlers_generic_handler("hansa.Test", {"Who": grpc.unary_unary_rpc_method_handler(seen)})
    server = grpc.server(ThreadPoolExecutor(2), handlers=[handler])
    credentials = grpc.ssl_server_credentials([(side.key, side.chain)], pem(ROOT), True)
    port = server.add_secure_port("127.0.0.1:0", credentials)
    server.start()
    yield port
    server.stop(None).wait()


def grpc_peer(port: int, side: Side, ca: bytes) -> bytes:
    credentials = grpc.ssl_channel_credentials(ca, side.key, side.chain)
    with grpc.secure_channel(f"127.0.0.1:{port}", credentials) as channel:
        return channel.unary_unary("/hansa.Test/Who")(b"", timeout=20)


def test_grpc_takes_them_and_tells_who_it_is(grpc_port):
    key = new_key()
    leaf = ISSUER.leaf(INVITATION, "Lübeck", key.public_key(), TODAY, DAY)
    for side in (client_side(ISSUER, TODAY, "Lübeck"), Side(ISSUER.pem(leaf), key_pem(key))):
        peer = read_peer(grpc_peer(grpc_port, side, pem(ROOT)))
        assert peer.name == "Lübeck" and peer == read_peer(side.chain)


def test_grpc_refuses_those_of_others_and_servers_as_clients(grpc_port):
    other = new_root("hanse", TODAY)
    for side in (client_side(other, TODAY), server_side(ISSUER, TODAY)):
        with pytest.raises(grpc.RpcError, match="UNAVAILABLE"):
            grpc_peer(grpc_port, side, pem(ROOT))
