"""Who gets a certificate, who gets the same one again, and everyone who gets none, each with the reason."""

from __future__ import annotations

import dataclasses
import json
import stat
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

import pytest
from cryptography import x509
from cryptography.x509.verification import PolicyBuilder, Store

from hansa.fedlink.authority import DAY, new_root
from hansa.fedlink.certificates import CLIENT, new_key, read_peer
from hansa.fedlink.errors import EnrolmentRefused, FileError, RevocationError
from hansa.fedlink.tokens import RENEWALS, Entry, TokenBook, token_hash
from tests.identities import NOW, Device, client_side, invited, registrar

ROOT = new_root("hanse", NOW)
ISSUER = ROOT.issuing("hanse", NOW)
TOKENS = {"bergen": "token of bergen", "riga": "token of riga"}
HOUR = 3600.0


@pytest.fixture
def office(tmp_path):
    return registrar(tmp_path, ISSUER, TOKENS)


def enrol(office, device: Device, token: str = "token of bergen", now: float = NOW, peer: str = "bergen") -> bytes:
    return office.enrol(invited(ISSUER, peer, NOW), token, device.request(), now)


def renewed(device: Device, **changed) -> Device:
    return dataclasses.replace(device, **{"key": new_key(), **changed})


def test_a_device_gets_a_certificate_of_its_keys(office):
    device = Device(name="bergen")
    chain = enrol(office, device)
    peer = read_peer(chain)
    assert (peer.role, peer.name, peer.not_after) == (CLIENT, "bergen", NOW + 90 * DAY)
    assert peer.identity == device.identity.public_key().public_bytes_raw()
    leaf, *below = x509.load_pem_x509_certificates(chain)
    assert leaf.public_key() == device.key.public_key()
    policy = PolicyBuilder().store(Store([ROOT.certificate])).time(datetime.fromtimestamp(NOW, UTC))
    policy.build_client_verifier().verify(leaf, below)


def test_a_reply_that_was_lost_is_repeated_to_the_same_device_only(office):
    device = Device(name="bergen")
    first = enrol(office, device)
    assert enrol(office, device, now=NOW + HOUR) == first
    for other in (
        Device(name="bergen"),
        renewed(device),
        dataclasses.replace(device, identity=Device(name="x").identity),
    ):
        with pytest.raises(EnrolmentRefused, match="'bergen' was used by another device on 2027-01-15 08:00 UTC"):
            enrol(office, other)
    assert enrol(office, device) == first
    assert office.book.read()["bergen"].state(NOW) == "enrolled"


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ({"token": "forged"}, "the token is not that of the latest invitation of 'bergen'"),
        ({"token": ""}, "the token is not that of the latest invitation"),
        ({"token": "\ud800"}, "the token is not that of the latest invitation"),
        ({"token": token_hash("token of bergen")}, "the token is not that of the latest invitation"),
        ({"token": "token of riga"}, "the token is of another client than 'bergen'"),
        ({"peer": "riga", "token": "token of riga"}, "the request is for 'bergen' and the invitation for 'riga'"),
        ({"now": NOW + 8 * DAY}, "until 2027-01-22 08:00 UTC, and the coordinator's clock says 2027-01-23 08:00 UTC"),
        ({"now": NOW - 3 * DAY}, "the certificate of 'bergen' is good from 2027-01-13 08:00 UTC until"),
    ],
)
def test_who_may_not_enrol_is_told_why_and_uses_nothing_up(office, words, told):
    before = office.book.path.read_bytes()
    with pytest.raises(EnrolmentRefused, match=told) as error:
        enrol(office, Device(name="bergen"), **words)
    text = str(error.value)
    assert "\n" not in text and (not words.get("token") or words["token"] not in text)
    assert office.book.path.read_bytes() == before
    assert enrol(office, Device(name="bergen"))


def test_a_name_that_was_never_invited_gets_nothing(office):
    with pytest.raises(EnrolmentRefused, match="not that of the latest invitation of 'oslo'"):
        enrol(office, Device(name="oslo"), peer="oslo", token="")


def test_a_token_ends_when_the_book_says_so(office):
    with office.book.writing() as entries:
        entries["bergen"] = dataclasses.replace(entries["bergen"], expires=NOW + HOUR)
    with pytest.raises(EnrolmentRefused, match="the invitation of 'bergen' was good until 2027-01-15 09:00 UTC: ask"):
        enrol(office, Device(name="bergen"), now=NOW + HOUR)


def test_only_an_invitation_enrols_and_only_a_client_renews(office):
    client, guest = read_peer(client_side(ISSUER, NOW).chain), invited(ISSUER, "bergen", NOW)
    request = Device(name="bergen").request()
    with pytest.raises(EnrolmentRefused, match="needs the certificate of an invitation, and the peer has a client"):
        office.enrol(client, "token of bergen", request, NOW)
    with pytest.raises(EnrolmentRefused, match="needs the certificate of a client, and the peer has an invitation"):
        office.renew(guest, request, NOW)


def test_a_name_that_was_signed_for_by_hand_does_not_enrol_too(office):
    device = Device(name="bergen")
    office.sign(device.request(), NOW)
    with pytest.raises(EnrolmentRefused, match="'bergen' has a certificate already, signed by hand"):
        enrol(office, device)


def test_a_client_renews_with_a_fresh_key_and_its_own_identity(office):
    device = Device(name="bergen")
    peer = read_peer(enrol(office, device))
    fresh = renewed(device)
    after = read_peer(office.renew(peer, fresh.request(), NOW + 60 * DAY))
    assert (after.name, after.identity, after.not_after) == ("bergen", peer.identity, NOW + 150 * DAY)
    assert after.key != peer.key and after.serial != peer.serial
    for other, told in (
        (device, "asked with the key that it has"),
        (renewed(device, identity=Device(name="x").identity), "another identity key than its certificate has"),
        (renewed(device, name="riga"), "'bergen' asked for a certificate of 'riga'"),
    ):
        with pytest.raises(EnrolmentRefused, match=told):
            office.renew(peer, other.request(), NOW)
    with pytest.raises(EnrolmentRefused, match="until 2027-04-15 08:00 UTC, and the coordinator"):
        office.renew(peer, renewed(device).request(), NOW + 90 * DAY)
    assert office.renew(after, renewed(device).request(), NOW + 149 * DAY)
    assert len(office.book.read()["bergen"].serials) == 2, "what is over is forgotten"


def test_a_certificate_that_the_book_does_not_know_is_not_renewed(office):
    peer = read_peer(client_side(ISSUER, NOW, "bergen").chain)
    with pytest.raises(EnrolmentRefused, match="the certificate of 'bergen' is not in the coordinator's book"):
        office.renew(peer, Device(name="bergen").request(), NOW)


def test_a_client_cannot_fill_the_book_with_renewals(office):
    device = Device(name="bergen")
    peer = read_peer(enrol(office, device))
    with office.book.writing() as entries:
        many = {f"{n:x}": NOW + DAY for n in range(RENEWALS - 1)}
        entries["bergen"] = dataclasses.replace(entries["bergen"], serials={**many, f"{peer.serial:x}": NOW + 90 * DAY})
    with pytest.raises(EnrolmentRefused, match=f"bergen has {RENEWALS} valid certificates"):
        office.renew(peer, renewed(device).request(), NOW)
    assert office.renew(peer, renewed(device).request(), NOW + DAY)


def test_who_is_revoked_can_do_nothing_any_more(office):
    device = Device(name="bergen")
    guest = invited(ISSUER, "bergen", NOW)
    with office.book.writing() as entries:
        entries["bergen"] = dataclasses.replace(entries["bergen"], invitation=f"{guest.serial:x}")
    first = read_peer(office.enrol(guest, "token of bergen", device.request(), NOW))
    second = read_peer(office.renew(first, renewed(device).request(), NOW))
    office.revoke("bergen", NOW + HOUR)
    for peer in (guest, first, second):
        assert office.revocations.revoked(peer.serial)
    for peer in (first, second):
        with pytest.raises(EnrolmentRefused, match="'bergen' is revoked: ask for an invitation"):
            office.renew(peer, renewed(device).request(), NOW + HOUR)
    for another in (guest, invited(ISSUER, "bergen", NOW)):
        with pytest.raises(EnrolmentRefused, match="'bergen' is revoked"):
            office.enrol(another, "token of bergen", device.request(), NOW + HOUR)
    with pytest.raises(EnrolmentRefused, match="'bergen' is revoked"):
        office.sign(device.request(), NOW + HOUR)
    office.revocations.path.unlink()
    with pytest.raises(RevocationError, match="nobody is let in"):
        office.enrol(invited(ISSUER, "riga", NOW), "token of riga", Device(name="riga").request(), NOW)


def test_a_coordinator_without_a_key_says_how_to_go_on(tmp_path):
    office = registrar(tmp_path, None, TOKENS)
    device = Device(name="bergen")
    told = r"hansa join --request.*hansa provision sign FOLDER device.request"
    with pytest.raises(EnrolmentRefused, match=told):
        enrol(office, device)
    peer = read_peer(dataclasses.replace(office, signer=ROOT).sign(device.request(), NOW))
    with pytest.raises(EnrolmentRefused, match=told):
        office.renew(peer, renewed(device).request(), NOW)


def test_by_hand_the_same_device_is_signed_for_again_and_another_is_not(tmp_path):
    office = registrar(tmp_path, ROOT, {})
    device = Device(name="oslo")
    first = read_peer(office.sign(device.request(), NOW))
    assert read_peer(office.sign(renewed(device).request(), NOW)).identity == first.identity
    with pytest.raises(
        EnrolmentRefused, match="'oslo' has a certificate already, of another device: revoke that first"
    ):
        office.sign(Device(name="oslo").request(), NOW)
    assert office.sign(Device(name="oslo").request(), NOW + 90 * DAY)


def test_states_of_a_name(office):
    entry = office.book.read()["bergen"]
    assert [entry.state(NOW + days * DAY) for days in (0, 7)] == ["invited", "expired"]
    enrol(office, Device(name="bergen"))
    entry = office.book.read()["bergen"]
    assert [entry.state(NOW + days * DAY) for days in (0, 89, 90)] == ["enrolled", "enrolled", "expired"]
    assert dataclasses.replace(entry, revoked=NOW).state(NOW) == "revoked"


def test_the_book_holds_no_token_and_is_its_owners(office):
    enrol(office, Device(name="bergen"))
    assert stat.S_IMODE(office.book.path.stat().st_mode) == 0o600
    assert "token of" not in office.book.path.read_text() + repr(office.book.read()) + repr(office)
    assert token_hash("token of riga") in office.book.path.read_text()


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda book: "nonsense", "no JSON text"),
        (lambda book: {**book, "version": 9}, "of version 9"),
        (lambda book: {**book, "clients": {"a\n": book["clients"]["riga"]}}, "invisible characters"),
        (lambda book: {**book, "clients": {"a": 1}}, "'a' is not an object"),
        (lambda book: {**book, "clients": {"a": {**book["clients"]["riga"], "used": "yes"}}}, "used must be"),
        (
            lambda book: {**book, "clients": {"a": {**book["clients"]["riga"], "serials": {"zz": 1}}}},
            "a serial that is",
        ),
        (lambda book: {**book, "clients": {"a": {**book["clients"]["riga"], "serials": {"1": ""}}}}, "1 must be"),
    ],
)
def test_a_book_that_cannot_be_read_enrols_nobody(office, change, told):
    changed = change(json.loads(office.book.path.read_text()))
    office.book.path.write_text(changed if isinstance(changed, str) else json.dumps(changed))
    with pytest.raises(FileError, match=told):
        enrol(office, Device(name="bergen"))
    office.book.path.unlink()
    with pytest.raises(FileError, match="cannot read"):
        enrol(office, Device(name="bergen"))


def test_a_write_that_is_broken_off_changes_nothing(office):
    before = office.book.path.read_bytes()

    def broken_off() -> None:
        with office.book.writing() as entries:
            entries["oslo"] = Entry()
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        broken_off()
    assert office.book.path.read_bytes() == before


WRITER = """
import sys
from pathlib import Path
from hansa.fedlink.tokens import Entry, TokenBook
book = TokenBook(path=Path(sys.argv[1]))
print("ready", flush=True)
sys.stdin.readline()
for number in range(40):
    with book.writing() as entries:
        entries[f"{sys.argv[2]} {number}"] = Entry(token=str(len(entries)))
"""


def test_two_processes_and_the_coordinator_write_one_book(office):
    """Every entry counted those before it, so that no write can have been lost on the way."""
    command = [sys.executable, "-c", WRITER, str(office.book.path)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen([*command, "a"], **pipes) as one, subprocess.Popen([*command, "b"], **pipes) as two:
        assert one.stdout.readline() == two.stdout.readline() == "ready\n"
        for writer in (one, two):
            writer.stdin.write("go\n")
            writer.stdin.flush()
        chain = enrol(office, Device(name="bergen"))
    assert (one.returncode, two.returncode) == (0, 0)
    entries = TokenBook(path=office.book.path).read()
    assert sorted(int(entry.token) for name, entry in entries.items() if name not in TOKENS) == list(range(2, 82))
    assert entries["bergen"].certificate == chain.decode()


def test_of_many_devices_at_once_one_gets_the_name(office):
    devices = [Device(name="bergen") for _ in range(8)]

    def outcome(device: Device) -> str:
        try:
            enrol(office, device)
        except EnrolmentRefused as error:
            return str(error)
        return "enrolled"

    with ThreadPoolExecutor(8) as pool:
        outcomes = list(pool.map(outcome, devices))
    assert outcomes.count("enrolled") == 1
    assert sum("was used by another device" in text for text in outcomes) == 7
