"""Invitations and signing requests as files: they come back whole, and whatever is not whole is told in one line."""

from __future__ import annotations

import base64
import json
import subprocess
import time

import pytest

from hansa.fedlink.authority import DAY, new_root
from hansa.fedlink.errors import CertificateError, FileError, InvitationError
from hansa.fedlink.files import replace
from hansa.fedlink.invitation import (
    LARGEST,
    Invitation,
    TaskFile,
    ca_fingerprint,
    invite,
    read_invitation,
    read_request_file,
    read_task,
    request_file,
    split_address,
    task_fields,
    write_invitation,
)
from tests.identities import NOW, Device, Side, handshake, pem, server_side

ROOT = new_root("hanse", NOW)
ISSUER = ROOT.issuing("hanse", NOW)
TASK = TaskFile(file="mine.py", class_name="Pumps", text="class Pumps:\n    'ü'\n")


def made(client: str = "Lübeck", now: float = NOW, task: str | TaskFile = TASK) -> Invitation:
    return invite(
        ISSUER,
        federation="hanse",
        address="127.0.0.1:8443",
        ca=pem(ROOT),
        client=client,
        token=b"t" * 32,
        task=task,
        now=now,
        seconds=7 * DAY,
    )


@pytest.mark.parametrize("task", ["heart_disease", TASK])
def test_an_invitation_comes_back_as_it_was(tmp_path, task):
    replace(tmp_path / "file", write_invitation(made(task=task)), secret=True)
    invitation = read_invitation(tmp_path / "file", NOW)
    assert invitation.task == task and invitation.client == "Lübeck" and invitation.ca == pem(ROOT)
    assert invitation.expires == NOW + 7 * DAY
    assert base64.b64decode(invitation.token) == b"t" * 32


def test_its_certificate_connects(tmp_path):
    now = time.time()
    root = new_root("hanse", now)
    invitation = invite(
        root.issuing("hanse", now),
        federation="hanse",
        address="[::1]:8443",
        ca=pem(root),
        client="riga",
        token=bytes(32),
        task="digits",
        now=now,
        seconds=DAY,
    )
    peer = handshake(tmp_path, server_side(root, now), Side(invitation.certificate, invitation.key), invitation.ca)
    assert (peer.role, peer.name, peer.identity) == ("invitation", "riga", None)


def test_the_fingerprint_is_the_one_that_openssl_shows(tmp_path):
    (tmp_path / "ca.pem").write_bytes(pem(ROOT))
    command = ["openssl", "x509", "-in", str(tmp_path / "ca.pem"), "-noout", "-fingerprint", "-sha256"]
    try:
        told = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    except FileNotFoundError:
        pytest.skip("openssl is not installed")
    assert told.strip().partition("=")[2].replace(":", "").lower() == ca_fingerprint(pem(ROOT))


def test_no_secret_is_in_its_text():
    invitation = made()
    told = repr(invitation)
    assert "Lübeck" in told and "127.0.0.1:8443" in told
    for secret in (invitation.token, invitation.key.decode().splitlines()[1], "PRIVATE", TASK.text.splitlines()[0]):
        assert secret not in told


OTHER = new_root("hanse", NOW)


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"version": 2}, "is of version 2, this Hansa reads 1"),
        ({"ca": pem(OTHER).decode()}, "its CA is not that of the fingerprint"),
        ({"ca_sha256": "0" * 64}, "its CA is not that of the fingerprint"),
        ({"ca": "nonsense"}, "the certificate is broken"),
        ({"client": "riga"}, "its certificate is of another client"),
        ({"client": "ri\nga"}, "invisible characters"),
        ({"client": None}, "client must be str"),
        ({"address": "8443"}, "is no address"),
        ({"address": "a b:8443"}, "is no host"),
        ({"key": made().key.decode()}, "its key is not that of its certificate"),
        ({"key": "x"}, "the private key is broken"),
        ({"certificate": pem(ROOT).decode()}, "not of a server or client"),
        ({"token": "dHQ="}, "its token is not whole"),
        ({"token": "not base64"}, "its token is not whole"),
        ({"expires": "never"}, "expires must be int or float"),
        *[({"expires": wild}, "expires must be int or float") for wild in (1e300, -1e300, 1e18, 10**400, True)],
        *[({"expires": wild}, "its end is not that of its certificate") for wild in (NOW, 1e15, -1e15, 0)],
        ({"task": {"name": "../x"}}, "is no task's name"),
        ({"task": {"name": 3}}, "name must be str"),
        ({"task": {}}, "lacks 'class'"),
        ({"task": {"file": "a.py", "class": "A", "text": "x", "sha256": "0" * 64}}, "not that of its SHA-256"),
        ({"task": {"file": "../a.py", "class": "A", "text": "x", "sha256": "0" * 64}}, "names no Python file"),
        ({"task": {"file": ".a.py", "class": "A", "text": "x", "sha256": "0" * 64}}, "names no Python file"),
        ({"task": {"file": "a.sh", "class": "A", "text": "x", "sha256": "0" * 64}}, "names no Python file"),
        ({"task": {"file": "a.py", "class": "A()", "text": "x", "sha256": "0" * 64}}, "names no Python file"),
        ({"surplus": 1}, "unknown field 'surplus'"),
    ],
)
def test_an_altered_invitation_is_refused_in_one_line_without_its_secrets(tmp_path, changed, told):
    fields = json.loads(write_invitation(made()))
    (tmp_path / "file").write_text(json.dumps({**fields, **changed}))
    with pytest.raises(InvitationError, match=told) as error:
        read_invitation(tmp_path / "file", NOW)
    text = str(error.value)
    assert "\n" not in text and fields["token"] not in text and "PRIVATE" not in text
    assert str(tmp_path / "file") in text


def test_an_invitation_is_refused_when_it_is_over_cut_or_too_large(tmp_path):
    path, whole = tmp_path / "file", write_invitation(made())
    path.write_bytes(whole)
    assert read_invitation(path, NOW + 7 * DAY - 1)
    with pytest.raises(InvitationError, match=r"was good until 2027-01-22 08:00 UTC and this device's clock says"):
        read_invitation(path, NOW + 7 * DAY)
    path.write_bytes(whole[:-10])
    with pytest.raises(InvitationError, match="cut or altered"):
        read_invitation(path, NOW)
    path.write_bytes(whole + b" " * LARGEST)
    with pytest.raises(InvitationError, match="more than 1,048,576 bytes"):
        read_invitation(path, NOW)
    with pytest.raises(InvitationError, match="No such file"):
        read_invitation(tmp_path / "none", NOW)
    with pytest.raises(InvitationError, match="shorten the task file"):
        write_invitation(made(task=TaskFile(file="a.py", class_name="A", text="\\" * LARGEST)))


@pytest.mark.parametrize(
    "address", ["", ":1", "host", "host:", "host:0", "host:65536", "host:x", "::1:80", "[a]:80", "a:²"]
)
def test_an_address_that_is_none(address):
    with pytest.raises((InvitationError, CertificateError), match=r"is no (address|host)"):
        split_address(address)


def test_a_request_file_comes_back(tmp_path):
    request = Device(name="Lübeck").request()
    (tmp_path / "file").write_bytes(request_file("Lübeck", request, None))
    assert read_request_file(tmp_path / "file") == ("Lübeck", request, None)
    (tmp_path / "file").write_bytes(b"{}")
    with pytest.raises(FileError, match="lacks"):
        read_request_file(tmp_path / "file")


def test_a_task_that_runs_otherwise_than_it_is_shown_is_refused_in_an_invitation():
    for changed in ({"text": "# coding: utf-7\n+AGEAYgBj-\n"}, {"file": "a\u3164.py"}, {"class_name": "A\u3164"}):
        task = TaskFile(**{"file": "a.py", "class_name": "A", "text": "x", **changed})
        with pytest.raises(InvitationError, match=r"a.py, line 1: its encoding is utf-7|names no Python file"):
            read_task(task_fields(task), "the task")
