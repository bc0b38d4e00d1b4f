"""``hansa provision``: from nothing to devices that are known, on real files and real certificates."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from hansa.conf import provision
from hansa.conf.main import run
from hansa.fedlink.authority import DAY, new_root
from hansa.fedlink.certificates import key_pem, new_key, read_peer
from hansa.fedlink.errors import CertificateError, EnrolmentRefused
from hansa.fedlink.folder import ServerFolder
from hansa.fedlink.invitation import TaskFile, ca_fingerprint, read_invitation, request_file
from tests.identities import Device, Side, handshake

MINE = "raise SystemExit('this file is never run')\n\nclass Pumps:\n    'Lübeck'\n"
NEW = ("address=127.0.0.1:8443", "task=digits")


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    (tmp_path / "mine.py").write_text(MINE, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    return Path("fed")


def hansa(capsys, *words: str, code: int = 0) -> str:
    """Run the verb; return what it printed, which on an error must be one line."""
    assert run(["provision", *words]) == code, capsys.readouterr().err
    out, err = capsys.readouterr()
    assert code == 0 or (err.startswith("hansa provision: ") and err.count("\n") == 1 and not out)
    return err if code else out


def server_of(folder: Path) -> ServerFolder:
    return ServerFolder(path=folder / "server")


def peer_of(folder: Path, name: str):
    invitation = read_invitation(folder / "invitations" / f"{name}.invitation", time.time())
    return invitation, read_peer(invitation.certificate)


def enrolled(folder: Path, name: str) -> Device:
    """Enrol a device by its invitation, as the coordinator would."""
    server, (invitation, peer), device = server_of(folder), peer_of(folder, name), Device(name=name)
    server.registrar(server.issuer()).enrol(peer, invitation.token, device.request(), time.time())
    return device


def rows(text: str) -> dict[str, str]:
    return {line.split()[0]: line.split()[1] for line in text.splitlines()[1:]}


def test_a_federation_from_nothing_to_a_handshake(folder, tmp_path, capsys):
    told = hansa(capsys, "fed", NEW[0], "clients=bergen, Lübeck,riga", "task=./mine.py:Pumps", "name=Hanse 1")
    assert sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()) == sorted(
        ["ca/ca.key", "ca/ca.pem", "server/.tokens.json.lock"]
        + [f"server/{name}" for name in ["ca.pem", "federation.json", "issuer.key", "issuer.pem", "revoked.jsonl"]]
        + [f"server/{name}" for name in ["server.key", "server.pem", "tokens.json"]]
        + [f"invitations/{name}.invitation" for name in ("bergen", "Lübeck", "riga")]
    )
    server, device = server_of(folder), enrolled(folder, "Lübeck")
    key, chain, ca = server.credentials()
    client = Side(server.book().read()["Lübeck"].certificate.encode(), key_pem(device.key))
    assert handshake(tmp_path, Side(chain, key), client, ca).name == "Lübeck"
    invitation, _ = peer_of(folder, "bergen")
    assert (invitation.federation, invitation.address) == ("Hanse 1", "127.0.0.1:8443")
    assert invitation.task == TaskFile(file="mine.py", class_name="Pumps", text=MINE)
    assert ca_fingerprint(ca) in told and told.count("SECRET") == 3 and "hansa join" in told
    assert invitation.token not in told and "PRIVATE" not in told


def test_everything_secret_is_its_owners_alone(folder, capsys):
    old = os.umask(0)
    try:
        hansa(capsys, "fed", *NEW, "clients=bergen")
    finally:
        os.umask(old)
    modes = {str(path.relative_to(folder)): stat.S_IMODE(path.stat().st_mode) for path in folder.rglob("*")}
    open_to_all = {name for name, mode in modes.items() if mode & 0o077}
    assert {modes[name] for name in ("ca", "server", "invitations")} == {0o700}
    assert all(name.endswith((".pem", "federation.json", "revoked.jsonl")) for name in open_to_all), open_to_all


def test_names_are_added_and_those_that_are_there_are_refused(folder, capsys):
    hansa(capsys, "fed", *NEW, "clients=bergen")
    before = server_of(folder).ca.read_bytes()
    told = hansa(capsys, "fed", "clients=riga", "token_days=1")
    assert "riga.invitation" in told and "bergen" not in told
    assert server_of(folder).ca.read_bytes() == before
    assert peer_of(folder, "riga")[0].expires == pytest.approx(time.time() + DAY, abs=60)
    told = hansa(capsys, "fed", "clients=oslo,riga", code=1)
    assert "'riga' is invited until" in told and "hansa provision revoke fed riga" in told
    assert not (folder / "invitations" / "oslo.invitation").exists()
    enrolled(folder, "bergen")
    assert "'bergen' is enrolled until" in hansa(capsys, "fed", "clients=bergen", code=1)
    assert rows(hansa(capsys, "list", "fed")) == {"bergen": "enrolled", "riga": "invited"}


def test_a_device_that_lost_its_keys_is_revoked_and_invited_again(folder, capsys):
    hansa(capsys, "fed", *NEW, "clients=bergen")
    _, guest = peer_of(folder, "bergen")
    enrolled(folder, "bergen")
    server = server_of(folder)
    serial = read_peer(server.book().read()["bergen"].certificate.encode()).serial
    assert "bergen is revoked" in hansa(capsys, "revoke", "fed", "bergen")
    assert server.revocations().serials() == {serial, guest.serial}
    assert not (folder / "invitations" / "bergen.invitation").exists()
    assert rows(hansa(capsys, "list", "fed")) == {"bergen": "revoked"}
    hansa(capsys, "fed", "clients=bergen")
    enrolled(folder, "bergen")
    assert rows(hansa(capsys, "list", "fed")) == {"bergen": "enrolled"}
    assert server.revocations().revoked(serial), "the old certificate stays out"


def test_one_whose_invitation_ran_out_is_invited_again(folder, capsys, monkeypatch):
    hansa(capsys, "fed", *NEW, "clients=bergen")
    week = time.time() + 7 * DAY
    monkeypatch.setattr(provision.time, "time", lambda: week)
    assert rows(hansa(capsys, "list", "fed")) == {"bergen": "expired"}
    hansa(capsys, "fed", "clients=bergen")
    assert rows(hansa(capsys, "list", "fed")) == {"bergen": "invited"}


def test_a_coordinator_that_may_sign_nothing(folder, capsys):
    """Its devices are signed for by hand, where the root's key is, and renewed the same way."""
    assert "hansa join --request" in hansa(capsys, "fed", *NEW, "clients=bergen", "issuer=false")
    server, device = server_of(folder), Device(name="bergen")
    assert server.issuer() is None and not list(server.path.glob("issuer*"))
    with pytest.raises(EnrolmentRefused, match="hansa provision sign"):
        enrolled(folder, "bergen")
    Path("device.request").write_bytes(request_file("bergen", device.request(), "fed"))
    assert "device.crt" in hansa(capsys, "sign", "fed", "device.request")
    (leaf,) = x509.load_pem_x509_certificates(Path("device.crt").read_bytes())
    leaf.verify_directly_issued_by(x509.load_pem_x509_certificate(server.ca.read_bytes()))
    assert rows(hansa(capsys, "list", "fed")) == {"bergen": "enrolled"}
    assert "device.crt is there already" in hansa(capsys, "sign", "fed", "device.request", code=1)
    hansa(capsys, "sign", "fed", "device.request", "out=second.crt")
    hansa(capsys, "revoke", "fed", "bergen")
    assert server.revocations().revoked(leaf.serial_number)
    (folder / "ca").rename("safe")
    told = hansa(capsys, "sign", "fed", "device.request", "out=third.crt", code=1)
    assert "no key to sign with is in fed" in told and "ca_key=" in told
    hansa(capsys, "fed", "clients=bergen", "ca_key=safe/ca.key")


@pytest.mark.parametrize(
    ("name", "asked", "federation", "told"),
    [
        ("riga", "bergen", None, "names 'riga' and asks for another"),
        ("bergen", "bergen", "other", "is for the federation 'other', not 'fed'"),
        ("bergen", None, None, "the signing request is broken"),
    ],
)
def test_a_request_that_does_not_fit_is_not_signed(capsys, name, asked, federation, told):
    hansa(capsys, "fed", *NEW)
    request = Device(name=asked).request() if asked else b""
    Path("device.request").write_bytes(request_file(name, request, federation))
    assert told in hansa(capsys, "sign", "fed", "device.request", code=1)
    assert not Path("device.crt").exists()


@pytest.mark.parametrize("kind", ["rsa", "p384"])
@pytest.mark.parametrize("issuer", ["true", "false"])
def test_a_root_of_ones_own(folder, tmp_path, capsys, kind, issuer):
    key = rsa.generate_private_key(65537, 2048) if kind == "rsa" else ec.generate_private_key(ec.SECP384R1())
    Path("own.key").write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    Path("own.pem").write_bytes(own(key))
    hansa(capsys, "fed", *NEW, "clients=bergen", "ca=own.pem", "ca_key=own.key", f"issuer={issuer}")
    assert not (folder / "ca").exists(), "the key stays where it is"
    invitation, peer = peer_of(folder, "bergen")
    assert invitation.ca == Path("own.pem").read_bytes()
    key, chain, ca = server_of(folder).credentials()
    guest = Side(invitation.certificate, invitation.key)
    assert handshake(tmp_path, Side(chain, key), guest, ca) == peer
    told = hansa(capsys, "renew", "fed", code=0 if issuer == "true" else 1)
    assert "ca_key=" not in told or issuer == "false"
    hansa(capsys, "renew", "fed", "ca_key=own.key")


def own(key) -> bytes:
    root = new_root("Town", time.time())
    builder = x509.CertificateBuilder(
        root.certificate.subject,
        root.certificate.subject,
        key.public_key(),
        9,
        root.certificate.not_valid_before_utc,
        root.certificate.not_valid_after_utc,
        [e for e in root.certificate.extensions if isinstance(e.value, x509.BasicConstraints | x509.KeyUsage)],
    )
    return builder.sign(key, hashes.SHA256()).public_bytes(Encoding.PEM)


def test_the_server_is_renewed_and_may_move(folder, tmp_path, capsys):
    hansa(capsys, "fed", "address=old.example.org:1", "task=digits", "clients=bergen", "valid_days=30")
    server = server_of(folder)
    before = server.credentials()
    assert read_peer(before[1]).not_after == pytest.approx(time.time() + 30 * DAY, abs=60)
    told = hansa(capsys, "renew", "fed", "address=127.0.0.1:8443")
    assert "tell them the new one" in told
    key, chain, ca = server.credentials()
    assert key != before[0] and ca == before[2] and server.federation().valid_days == 30
    invitation, _ = peer_of(folder, "bergen")
    handshake(tmp_path, Side(chain, key), Side(invitation.certificate, invitation.key), invitation.ca)
    hansa(capsys, "fed", "clients=riga", "address=127.0.0.1:8443")
    assert peer_of(folder, "riga")[0].address == "127.0.0.1:8443"


def test_a_key_and_a_chain_of_two_renewals_are_not_used(folder, capsys):
    hansa(capsys, "fed", *NEW)
    server_of(folder).key.write_bytes(key_pem(new_key()))
    with pytest.raises(CertificateError, match=r"server.key is not the key of .*server.pem: wait until a renewal"):
        server_of(folder).credentials()


def test_names_of_any_kind_stay_in_their_folder(folder, capsys):
    names = ["../x", "a/b", "..", ".hidden", "%2e", "港", "x" * 128, "港" * 128]
    told = hansa(capsys, "fed", *NEW, f"clients=[red]a,{','.join(names)}")
    assert "%5Bred%5Da.invitation" in told
    files = list((folder / "invitations").iterdir())
    assert len(files) == 9 and {read_invitation(file, time.time()).client for file in files} == {*names, "[red]a"}
    assert "[red]a" in hansa(capsys, "list", "fed")
    hansa(capsys, "revoke", "fed", "../x")
    assert len(list((folder / "invitations").iterdir())) == 8


def test_many_invitations_are_told_in_a_few_lines(capsys):
    told = hansa(capsys, "fed", *NEW, f"clients={','.join(map(str, range(50)))}")
    assert "and 42 more" in told and len(told.splitlines()) < 10


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["fed"], "a new federation needs its address"),
        (["fed", "address=a:1"], "a new federation needs its task"),
        (["fed", "address=a", "task=digits"], "'a' is no address: write host:port"),
        (["fed", "address=münchen.de:1", "task=digits"], "is no host"),
        (["fed", NEW[0], "task=digit"], "task=digit does not exist: nearest is task=digits"),
        (["fed", NEW[0], "task=./none.py:Pumps"], "none.py is no file"),
        (["fed", NEW[0], "task=./mine.py:Pump"], "mine.py has no class 'Pump': nearest is Pumps"),
        (["fed", NEW[0], "task=./broken.py:Pumps"], "broken.py, line 2: this is no Python text"),
        (["fed", NEW[0], "task=./latin.py:Pumps"], "latin.py, line 2: byte 0xfc is not UTF-8: save it as UTF-8"),
        (["fed", *NEW, "adress=a:1"], "setting 'adress' does not exist: nearest is address"),
        (["fed", *NEW, "clients=a,a"], "clients: 'a' is there twice"),
        (["fed", *NEW, "clients=a,"], "a name has 1 to 128 characters"),
        (["fed", *NEW, "clients=a\tb"], "invisible characters"),
        (["fed", *NEW, "valid_days=-1"], "valid_days=-1: it must be a number above 0, and 3650 at most"),
        (["fed", *NEW, "token_days=nan"], "token_days=nan: it must be a number"),
        (["fed", *NEW, "token_days=soon"], "token_days=soon: it must be a number"),
        (["fed", *NEW, "issuer=perhaps"], "issuer=perhaps: it must be true or false"),
        (["fed", *NEW, "ca=mine.py"], "ca= and ca_key= belong together"),
        (["fed", *NEW, "ca=mine.py", "ca_key=mine.py"], "the certificate is broken"),
        (["fed", *NEW, "ca=none", "ca_key=mine.py"], "cannot read none: No such file"),
        (["mine.py/fed", *NEW], "cannot make the folder mine.py/fed: Not a directory"),
        (["fed", "more", *NEW], "takes one folder, not 'fed more'"),
        (["revok", "fed", "bergen"], "the nearest verb is revoke"),
        (["clients=bergen"], "takes one folder, not 'none': name it first"),
        (["sign", "fed"], "hansa provision sign takes 2 words before its settings"),
        (["list", "fed", "clients=a"], "setting 'clients' does not exist"),
        (["list", "fed"], "fed is no federation's folder"),
        (["revoke", "fed", "bergen"], "fed is no federation's folder"),
        (["renew", "fed"], "fed is no federation's folder"),
        (["sign", "fed", "x.request"], "fed is no federation's folder"),
    ],
)
def test_what_cannot_be_is_told_in_one_line_and_makes_nothing(folder, capsys, words, told):
    Path("broken.py").write_text("class Pumps:\n    def\n")
    Path("latin.py").write_bytes("class Pumps:\n    'Lübeck'\n".encode("latin-1"))
    assert told in hansa(capsys, *words, code=1)
    assert not folder.exists()


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["fed"], "fed/server is there already: name whom to invite with clients="),
        (["fed", "clients=b", "address=other:1"], "the address of fed/server is 127.0.0.1:8443"),
        (["fed", "clients=b", "name=other"], "the name of fed/server is fed"),
        (["fed", "clients=b", "issuer=false"], "issuer= is for a new federation"),
        (["fed", "clients=b", "valid_days=3"], "valid_days= is for a new federation"),
        (["fed", "clients=b", "ca_key=mine.py"], "the CA's key is no private key"),
        (["revoke", "fed", "bergn"], "there is no client 'bergn' in fed: nearest is bergen"),
        (["sign", "fed", "none.request"], "cannot read none.request"),
    ],
)
def test_what_does_not_fit_a_federation_changes_nothing(folder, capsys, words, told):
    hansa(capsys, "fed", *NEW, "clients=bergen")
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    assert told in hansa(capsys, *words, code=1)
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before


def test_a_folder_that_is_there_in_part_is_not_made_anew(folder, capsys):
    """Its root may be trusted by devices already."""
    hansa(capsys, "fed", *NEW)
    (folder / "server").rename("moved")
    key = (folder / "ca" / "ca.key").read_bytes()
    assert "fed/ca is there without fed/server/federation.json" in hansa(capsys, "fed", *NEW, code=1)
    assert (folder / "ca" / "ca.key").read_bytes() == key


def test_invitations_carry_the_task_that_was_named_last(folder, capsys):
    hansa(capsys, "fed", *NEW, "clients=a")
    assert "carry ./mine.py:Pumps from now on" in hansa(capsys, "fed", "clients=b", "task=./mine.py:Pumps")
    hansa(capsys, "fed", "clients=c")
    told = hansa(capsys, "fed", "task=digits")
    assert told == "Invitations carry digits from now on.\n"
    tasks = [peer_of(folder, name)[0].task for name in "abc"]
    assert tasks == ["digits", *[TaskFile(file="mine.py", class_name="Pumps", text=MINE)] * 2]


def test_the_issuer_alone_invites_where_the_root_is_not(folder, capsys):
    hansa(capsys, "fed", *NEW)
    (folder / "ca").rename("safe")
    hansa(capsys, "fed", "clients=bergen")
    assert enrolled(folder, "bergen")
    hansa(capsys, "renew", "fed")


def test_help_is_there_and_nothing_heavy_is_loaded(capsys):
    for words in ([], ["--help"]):
        told = hansa(capsys, *words)
        assert all(f"hansa provision {verb} FOLDER" in told for verb in provision.ACTIONS)
        assert all(name in told for name in provision.NEW)
    code = "import sys; from hansa.conf.main import run; run(sys.argv[1:]); print(*sys.modules)"
    words = ["provision", "fed", NEW[0], "task=./mine.py:Pumps", "clients=bergen"]
    done = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True, check=True)
    assert "bergen.invitation" in done.stdout
    assert not {name.split(".")[0] for name in done.stdout.split()} & {"torch", "flwr", "hydra", "grpc", "numpy"}


def test_what_is_written_can_be_read_by_other_tools(folder, capsys):
    hansa(capsys, "fed", *NEW, "clients=bergen")
    fields = json.loads((folder / "invitations" / "bergen.invitation").read_text())
    assert fields["version"] == 1 and fields["client"] == "bergen"
    chain = x509.load_pem_x509_certificates((folder / "server" / "server.pem").read_bytes())
    assert len(chain) == 2
