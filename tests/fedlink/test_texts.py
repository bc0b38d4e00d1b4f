"""What peers write reaches a person as plain text: nothing is carried out, hidden, or drawn over other lines."""

from __future__ import annotations

import unicodedata

import pytest
from flwr.app import ConfigRecord, Error, Message, RecordDict
from hypothesis import given
from hypothesis import strategies as st

from hansa.fedlink import link_pb2 as pb
from hansa.fedlink.certificates import checked_name
from hansa.fedlink.errors import CertificateError, MalformedFrame, MalformedMessage, RequestRefused
from hansa.fedlink.flower import become, from_bytes, to_bytes
from hansa.fedlink.messages import Call, Failure, Reply
from hansa.fedlink.packing import pack_call, pack_reply, read_call, read_reply
from hansa.fedlink.protocol import Client, Desk, Work, effects
from hansa.fedlink.protocol.limits import check_id
from hansa.fedlink.texts import LONGEST_ID, LONGEST_TEXT, MARKS, one_line, plain

ATTACKS = {
    "title": "\x1b]0;owned\x07",
    "clear": "\x1b[2J\x1b[H",
    "clipboard": "\x1b]52;c;cm0gLXJm\x07",
    "one byte escape": "\x9b31m",
    "forged line": "a\nround 7/9: 4/4 clients, accuracy 1.0000",
    "carriage return": "gone\rround 7/9: all is well",
    "line separator": "a\u2028round 7",
    "next line": "a\u0085round 7",
    "backspaces": "bad\b\b\bgood",
    "bidi": "\u202egnp.exe",
    "isolate": "a\u2066b\u2069",
    "zero width": "ri\u200bga",
    "soft hyphen": "ri\u00adga",
    "tag": "riga\U000e0041",
    "filler": "\u3164",
    "zalgo": "r" + "\u0301" * 400,
    "zalgo of circles": "r" + "\u20dd" * 400,
    "surrogate": "\ud800",
    "no break space": "a\u00a0b",
    "private": "\ue000",
}
EACH = pytest.mark.parametrize("text", ATTACKS.values(), ids=ATTACKS)


def harmless(text: str) -> bool:
    marks = "".join("m" if unicodedata.category(c) in ("Mn", "Me") else " " for c in text)
    encoded = text.encode().decode() == text
    return encoded and text.isprintable() and "m" * (MARKS + 1) not in marks and len(text) <= LONGEST_TEXT


@EACH
def test_a_text_becomes_one_harmless_line_and_a_name_is_refused(text):
    assert harmless(one_line(text)) and not plain(text)
    with pytest.raises(MalformedFrame, match=r"an id of \d+ characters"):
        check_id(text)
    with pytest.raises(CertificateError) as refused:
        checked_name(text)
    assert harmless(str(refused.value))


@given(st.text(st.characters(exclude_categories=()), max_size=600))
def test_any_text_becomes_one_harmless_line_and_stays_so(text):
    line = one_line(text)
    assert harmless(line) and one_line(line) == line and line == line.strip()
    assert not plain(text) or one_line(text, LONGEST_ID).split() == text.split()


NAMES = ("Lübeck", "Gdańsk 2", "Ελσίνκι", "רִיגָה", "ตั้งใจ", "हिन्दी", "東京", "a  b", "x" * 200, "r/3.0/train.update")


@pytest.mark.parametrize("text", NAMES)
def test_names_of_all_scripts_are_plain(text):
    assert plain(text) and one_line(text).split() == text.split()


def test_gaps_cannot_push_a_text_into_a_line_of_its_own():
    assert one_line("gone" + " " * 300 + "round 7/9") == "gone round 7/9"


def sent(kind, **said):
    return kind(**said).SerializeToString()


def desk():
    there = Desk(software="h")
    session, _ = there.connect("riga", 0, 0)
    session.receive(sent(pb.ClientFrame, hello=pb.Hello(versions=[1])), 0)
    return there, session


def told(done):
    """All texts that effects hand on, less the frames that go back."""
    return [
        value
        for effect in done
        if not isinstance(effect, effects.Send)
        for value in (getattr(effect, name) for name in effect.__dataclass_fields__)
        if isinstance(value, str)
    ]


TEXTS = [text for name, text in ATTACKS.items() if name != "surrogate"]
"""Protobuf carries no surrogates."""


@pytest.mark.parametrize("text", TEXTS)
def test_a_coordinator_hands_on_nothing_of_a_client_that_is_not_harmless(text):
    there, session = desk()
    there.submit("riga", Work(request_id="r"))
    frames = [
        {"refuse": pb.Refuse(request_id="r", text=text)},
        {"have": pb.Have(request_id=text)},
        {"goodbye": pb.Goodbye(code=4, text=text)},
    ]
    for frame in frames:
        done = session.receive(sent(pb.ClientFrame, **frame), 0)
        assert all(map(harmless, told(done)))
        if any(isinstance(effect, effects.Close) for effect in done):
            session, _ = there.connect("riga", 0, 0)
            session.receive(sent(pb.ClientFrame, hello=pb.Hello(versions=[1])), 0)
    session, _ = there.connect("riga", 0, 0)
    done = session.receive(sent(pb.ClientFrame, hello=pb.Hello(versions=[1], software=text)), 0)
    assert any(isinstance(effect, effects.Connected) for effect in done) and all(map(harmless, told(done)))


@pytest.mark.parametrize("text", TEXTS)
@pytest.mark.parametrize("where", ["run", "settings", "fields", "software", "reason", "request", "goodbye"])
def test_a_device_hands_on_nothing_of_a_coordinator_that_is_not_harmless(where, text):
    run = pb.Run(id=text if where == "run" else "r")
    for words in ("settings", "fields"):
        getattr(run, words).extend([text] if where == words else [])
    welcome = pb.Welcome(version=1, heartbeat_ms=15000, chunk_bytes=2**16, open_requests=4, run=run)
    welcome.software = text if where == "software" else "h"
    client = Client(software="h")
    client.start(0, 0)
    done = client.receive(sent(pb.ServerFrame, welcome=welcome), 0)
    assert all(map(harmless, told(done)))
    if where in ("run", "settings", "fields"):
        assert any(isinstance(effect, effects.Ended) for effect in done)
        return
    client.receive(sent(pb.ServerFrame, work=pb.Work(request_id="r", answer_limit=9)), 0)
    frame = {
        "reason": {"cancel": pb.Cancel(request_id="r", reason=text)},
        "request": {"work": pb.Work(request_id=text)},
    }.get(where, {"goodbye": pb.Goodbye(code=4, text=text)})
    done = client.receive(sent(pb.ServerFrame, **frame), 0)
    assert done and all(map(harmless, told(done)))


@EACH
@pytest.mark.parametrize("where", ["run", "settings", "fields"])
def test_a_coordinator_does_not_tell_what_no_device_would_take(where, text):
    with pytest.raises(RequestRefused) as refused:
        Desk(software="h", **{where: text if where == "run" else (text,)})
    assert harmless(str(refused.value))


CALL = Call(endpoint="train.update", run="r", round=1, request=0, digest="d")
REPLY = Reply.to(CALL, "riga", "d")


@pytest.mark.parametrize("text", TEXTS)
@pytest.mark.parametrize("field", ["endpoint", "run", "digest", "client"])
def test_names_of_messages_are_refused(field, text):
    said = REPLY if field == "client" else CALL
    head, _ = (pack_reply if said is REPLY else pack_call)(type(said)(**{**vars(said), field: text}))
    read = read_call if said is CALL else lambda head, body: read_reply(head, 0, lambda dtype, size: None)
    with pytest.raises(MalformedMessage) as refused:
        read(head, b"")
    assert harmless(str(refused.value))


@EACH
def test_a_failure_is_harmless_whoever_makes_it(text):
    failure = Failure(stage=text, kind=text, text=text)
    assert all(map(harmless, vars(failure).values())) and harmless(str(failure))


@pytest.mark.parametrize("text", TEXTS)
def test_an_error_of_flowers_is_harmless_and_its_ids_are_plain(text):
    become(7)
    to = Message(RecordDict({"c": ConfigRecord({"a": 1})}), dst_node_id=7, message_type="train")
    reply = from_bytes(to_bytes(Message(Error(2, text), reply_to=to)))
    assert harmless(reply.error.reason or "")
    odd = Message(RecordDict(), dst_node_id=7, message_type="train", group_id=text)
    with pytest.raises(MalformedMessage) as refused:
        from_bytes(to_bytes(odd))
    assert harmless(str(refused.value))
