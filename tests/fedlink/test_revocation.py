"""The revocation list: read again when it changes, and nobody is let in by one that cannot be read."""

from __future__ import annotations

import pytest

from hansa.fedlink.errors import RevocationError
from hansa.fedlink.revocation import RevocationList, revoke
from tests.identities import NOW


@pytest.fixture
def path(tmp_path):
    (tmp_path / "revoked.jsonl").touch()
    return tmp_path / "revoked.jsonl"


def test_what_is_added_is_known_at_once_to_a_list_that_is_open(path):
    known = RevocationList(path=path)
    assert not known.revoked(0xABC)
    revoke(path, [0xABC, 7], "Lübeck", NOW)
    assert known.revoked(0xABC) and known.revoked(7) and not known.revoked(8)
    revoke(path, [7, 8], "riga", NOW)
    assert known.serials() == {0xABC, 7, 8}
    assert path.read_text().splitlines()[0] == '{"serial": "7", "name": "Lübeck", "when": "2027-01-15 08:00 UTC"}'
    assert len(path.read_text().splitlines()) == 3, "what is there already is not added again"


def test_it_is_read_only_when_it_has_changed(path, monkeypatch):
    revoke(path, [1], "riga", NOW)
    known = RevocationList(path=path)
    assert known.revoked(1)
    monkeypatch.setattr("hansa.fedlink.revocation.read", None)
    assert known.revoked(1) and not known.revoked(2)


def test_it_may_be_edited_by_hand(path):
    revoke(path, [1], "riga", NOW)
    path.write_text(path.read_text() + '\n{"serial": "F", "name": "oslo", "when": "today"}')
    revoke(path, [2], "bergen", NOW)
    assert RevocationList(path=path).serials() == {1, 2, 15}


@pytest.mark.parametrize("line", ["nonsense", "{}", '{"serial": "xyz", "name": "", "when": ""}', "\x00", "[" * 10**5])
def test_a_list_that_cannot_be_read_lets_nobody_in(path, line):
    revoke(path, [1], "riga", NOW)
    known = RevocationList(path=path)
    assert not known.revoked(2)
    whole = path.read_text()
    path.write_text(whole + line + "\n")
    for _ in range(2):
        with pytest.raises(RevocationError, match=r"revoked.jsonl, line 2"):
            known.revoked(2)
    with pytest.raises(RevocationError):
        revoke(path, [2], "riga", NOW)
    path.write_text(whole)
    assert not known.revoked(2)


def test_a_list_that_is_gone_or_too_large_lets_nobody_in(path, monkeypatch):
    known = RevocationList(path=path)
    assert not known.revoked(1)
    monkeypatch.setattr("hansa.fedlink.revocation.LARGEST", 10)
    path.write_text(" " * 11)
    with pytest.raises(RevocationError, match="more than 10 bytes"):
        known.revoked(1)
    path.unlink()
    with pytest.raises(RevocationError, match="No such file or directory: restore the list, nobody is let in"):
        known.revoked(1)
