"""Laws of the coordinator's machine, one by one."""

from __future__ import annotations

import hashlib

import pytest

from hansa.fedlink import link_pb2 as pb
from hansa.fedlink.errors import MalformedFrame, RequestRefused, TooManyRequests
from hansa.fedlink.protocol import Desk, Kept, Limits, Work, effects
from hansa.fedlink.protocol.wire import write_chunk

ROW = b"0123456789"
HASH = hashlib.sha256(ROW).digest()
DAY = 86_400_000


def frame(**kind):
    return pb.ClientFrame(**kind).SerializeToString()


def hello(*versions, **fields):
    return frame(hello=pb.Hello(versions=versions or [1], **fields))


def offer(request_id="r1", data=ROW, **changed):
    fields = {"request_id": request_id, "size": len(data), "sha256": hashlib.sha256(data).digest()}
    return frame(offer=pb.Offer(**{**fields, **changed}))


def desk_of(*works, **fields):
    desk = Desk(software="hansa", **fields)
    for work in works:
        desk.submit("riga", work)
    return desk


def welcomed(desk, name="riga", now=0.0, **fields):
    session, _ = desk.connect(name, now, 0.0)
    session.receive(hello(**fields), now)
    return session


def sent(done, kind=None):
    frames = [effect.frame for effect in done if isinstance(effect, effects.Send)]
    return frames if kind is None else [getattr(f, kind) for f in frames if f.WhichOneof("kind") == kind]


def goodbye(done):
    """The Goodbye of a session that ended; it is followed by Close and Dropped."""
    assert [type(effect) for effect in done[-2:]] == [effects.Close, effects.Dropped]
    (said,) = sent(done, "goodbye")
    assert "\n" not in said.text and done[-2].text == said.text
    return said


WORK = Work(request_id="r1", head=b"h", size=10, sha256=HASH, answer_limit=10)


def test_a_newer_session_of_a_name_replaces_the_older():
    desk = desk_of()
    older = welcomed(desk)
    _newer, done = desk.connect("riga", 1, 0)
    assert goodbye(done).code == pb.REPLACED and done[0].session == older.number
    assert older.receive(frame(heartbeat=pb.Heartbeat()), 1) == [] and older.closed(1) == []


def test_what_is_open_is_told_again_after_each_reconnect_and_what_is_not_open_is_gone():
    desk = desk_of(WORK, Work(request_id="r2"))
    for _ in range(2):
        session, _ = desk.connect("riga", 0, 0)
        done = session.receive(hello(held=["r2", "old"]), 0)
        assert [work.request_id for work in sent(done, "work")] == ["r1", "r2"]
        assert [(said.request_id, said.gone) for said in sent(done, "done")] == [("old", True)]


def test_submitting_again_changes_nothing_and_another_work_of_the_id_is_refused():
    desk = desk_of(WORK)
    session = welcomed(desk)
    assert desk.submit("riga", WORK) == []
    for name, work in (("riga", Work(request_id="r1")), ("bergen", WORK)):
        with pytest.raises(RequestRefused, match="unique"):
            desk.submit(name, work)
    assert sent(desk.submit("riga", Work(request_id="r2")), "work")[0].request_id == "r2"
    assert session.welcomed


@pytest.mark.parametrize(
    "changed",
    [
        {"request_id": ""},
        {"request_id": "x" * 201},
        {"head": bytes(65537)},
        {"sha256": b"x"},
        {"sha256": b""},
        {"answer_limit": -1},
        {"kept": Kept(size=1, sha256=HASH, stored=2)},
    ],
)
def test_work_that_cannot_be_carried_is_refused(changed):
    with pytest.raises(RequestRefused, match="riga"):
        desk_of(Work(**{**vars(WORK), **changed}))


def test_open_requests_of_a_client_are_bounded_and_those_of_others_are_theirs():
    desk = desk_of(WORK, limits=Limits(open_requests=1))
    with pytest.raises(TooManyRequests, match="'riga' has 1 open"):
        desk.submit("riga", Work(request_id="r2"))
    desk.submit("bergen", Work(request_id="r2"))
    desk.cancel("r1", "no longer")
    desk.submit("riga", Work(request_id="r3"))


def test_an_answer_over_its_limit_is_the_request_s_end_and_not_asked_for_anew_for_ever():
    desk = desk_of(WORK)
    failed, *told = welcomed(desk).receive(offer(data=bytes(11)), 0)
    assert isinstance(failed, effects.Failed) and "11 bytes, of which 10 are allowed" in failed.text
    assert goodbye(told).code == pb.PROTOCOL and not desk.open("riga")


def test_an_answer_is_resumed_where_the_line_broke_and_told_once():
    desk = desk_of(WORK)
    session = welcomed(desk)
    begin, ask = session.receive(offer(), 0)
    assert begin == effects.Begin(name="riga", request_id="r1", size=10, sha256=HASH) and ask.frame.send.offset == 0
    assert session.receive(offer(), 0) == [], "an offer again, while its body comes"
    assert session.receive(write_chunk("r1", 0, ROW[:4]), 0)[0].data == ROW[:4]
    assert isinstance(session.closed(0)[0], effects.Dropped)
    session = welcomed(desk)
    (ask,) = session.receive(offer(head=b"head"), 0)
    assert ask.frame.send.offset == 4
    store, completed = session.receive(write_chunk("r1", 4, ROW[4:]), 0)
    assert store.offset == 4 and completed.head == b"head"
    assert session.receive(offer(head=b"head"), 0) == [], "an offer again, while its hash is checked"
    with pytest.raises(RequestRefused, match="not answered"):
        desk.finish("r1")
    (answered,) = desk.accepted("r1")
    assert (answered.head, answered.sha256) == (b"head", HASH)
    assert desk.accepted("r1") == [] and desk.damaged("r1") == []
    assert sent(desk.finish("r1"), "done")[0].gone is False
    assert desk.finish("r1") == [] and desk.accepted("r1") == []
    assert sent(session.receive(offer(), 0), "done")[0].gone is True


def test_another_answer_begins_anew():
    desk = desk_of(WORK)
    session = welcomed(desk)
    session.receive(offer(), 0)
    session.receive(write_chunk("r1", 0, ROW[:4]), 0)
    begin, ask = welcomed(desk).receive(offer(data=b"other"), 0)
    assert begin.size == 5 and ask.frame.send.offset == 0


def test_what_an_earlier_process_kept_of_an_answer_is_not_asked_for_again():
    work = Work(**{**vars(WORK), "kept": Kept(size=10, sha256=HASH, stored=7)})
    desk = desk_of(work)
    assert desk.submit("riga", work) == desk.submit("riga", WORK) == []
    (ask,) = welcomed(desk).receive(offer(), 0)
    assert ask.frame.send.offset == 7
    whole = Kept(size=10, sha256=HASH, stored=10)
    (completed,) = welcomed(desk_of(Work(**{**vars(WORK), "kept": whole}))).receive(offer(head=b"a"), 0)
    assert isinstance(completed, effects.Completed) and completed.head == b"a"


def test_an_answer_without_a_body_is_complete_at_once():
    begin, completed = welcomed(desk_of(WORK)).receive(frame(offer=pb.Offer(request_id="r1", head=b"ok")), 0)
    assert (begin.size, completed.size, completed.head) == (0, 0, b"ok")


def test_a_damaged_answer_is_asked_for_anew_and_in_the_end_fails():
    desk = desk_of(WORK, limits=Limits(damaged=3))
    session = welcomed(desk)
    session.receive(offer(), 0)
    for _ in range(2):
        session.receive(write_chunk("r1", 0, ROW), 0)
        begin, ask = desk.damaged("r1")
        assert begin.size == 10 and ask.frame.send.offset == 0
    session.receive(write_chunk("r1", 0, ROW), 0)
    failed, _stop, cancel = desk.damaged("r1")
    assert "damaged 3 times" in failed.text and cancel.frame.cancel.request_id == "r1"
    assert desk.open("riga") == ()


def test_a_refusal_ends_a_request_but_not_an_answered_one():
    desk = desk_of(WORK)
    session = welcomed(desk)
    refusal = frame(refuse=pb.Refuse(request_id="r1", text="no\nroom"))
    session.receive(frame(offer=pb.Offer(request_id="r1")), 0)
    assert session.receive(refusal, 0) == [], "its answer is being checked"
    assert isinstance(desk.damaged("r1")[0], effects.Failed), "and is damaged, so that the refusal counts"
    assert desk.open("riga") == () and not desk._of, "nothing is kept of what is over"
    desk.submit("riga", WORK)
    assert session.receive(refusal, 0)[0] == effects.Failed(name="riga", request_id="r1", text="no room")
    assert session.receive(refusal, 0) == []


def test_a_client_that_refused_and_then_answers_after_all_is_asked_for_its_answer():
    desk = desk_of(WORK)
    session = welcomed(desk)
    session.receive(frame(offer=pb.Offer(request_id="r1")), 0)
    session.receive(frame(refuse=pb.Refuse(request_id="r1", text="no room")), 0)
    assert welcomed(desk).receive(offer(), 0) == [], "the first one is still being checked"
    begin, ask = desk.damaged("r1")
    assert begin.sha256 == HASH and ask.frame.send.request_id == "r1"


def test_a_cancelled_request_that_is_submitted_anew_may_have_another_answer():
    desk = desk_of(WORK)
    session = welcomed(desk)
    session.receive(offer(), 0)
    desk.cancel("r1", "not now")
    desk.submit("riga", WORK)
    begin, _ask = session.receive(offer(data=b"other"), 0)
    assert begin.size == 5


def test_a_cancelled_answer_may_still_be_on_its_way():
    desk = desk_of(WORK)
    session = welcomed(desk)
    session.receive(offer(), 0)
    stop, cancel = desk.cancel("r1", "round\nover")
    assert stop == effects.StopBody(session=1, request_id="r1") and cancel.frame.cancel.reason == "round over"
    assert session.receive(write_chunk("r1", 0, ROW), 0) == []
    assert desk.cancel("r1", "again") == []


OTHERS = Work(request_id="b1", size=10, sha256=HASH)
NONSENSE = {
    "a second Hello": (hello(), "second Hello"),
    "a chunk that nobody asked for": (write_chunk("r2", 0, ROW), "not asked for"),
    "a chunk out of order": (write_chunk("r1", 1, b"x"), "at byte 1 where 0 is next"),
    "an empty chunk": (write_chunk("r1", 0, b""), "a Chunk of 0 bytes"),
    "too long a chunk": (write_chunk("r1", 0, bytes(2**20 + 1)), "of 1048577 bytes"),
    "more than was announced": (write_chunk("r1", 0, bytes(11)), "ends at byte 11 of a body of 10"),
    "another answer": (offer(data=b"other"), "second, other answer"),
    "no hash": (offer("r2", sha256=b"x"), "a hash of 1 bytes"),
    "too long a head": (offer("r2", head=bytes(65537)), "a head of 65537"),
    "a Want from the end on": (frame(want=pb.Want(request_id="r1", offset=10)), "from byte 10 of a body of 10"),
    "no id": (frame(have=pb.Have()), "an id of 0"),
    "no kind": (b"", "of a kind"),
    "no protobuf": (b"\x0a\xff", "not protobuf"),
}


@pytest.mark.parametrize("name", NONSENSE)
def test_nonsense_ends_its_session_and_no_other(name):
    raw, told = NONSENSE[name]
    desk = desk_of(WORK, Work(**{**vars(WORK), "request_id": "r2"}))
    desk.submit("bergen", OTHERS)
    other, session = welcomed(desk, "bergen"), welcomed(desk)
    session.receive(offer(), 0)
    said = goodbye(session.receive(raw, 0))
    assert said.code == pb.PROTOCOL and told in said.text
    assert desk.connected() == ("bergen",)
    assert other.receive(frame(have=pb.Have(request_id="b1")), 0), "the other session goes on"
    assert len(desk.open("riga")) == 2, "what is open stays open"


def test_requests_of_others_do_not_exist_for_a_client():
    desk = desk_of(WORK)
    session = welcomed(desk, "bergen", held=["r1"])
    for raw in (offer(), frame(want=pb.Want(request_id="r1"))):
        assert sent(session.receive(raw, 0), "done")[0].gone is True
    assert session.receive(frame(refuse=pb.Refuse(request_id="r1")), 0) == []
    assert session.receive(frame(have=pb.Have(request_id="r1")), 0) == []
    assert len(desk.open("riga")) == 1


def test_what_comes_first_is_hello_and_is_bounded():
    for raw in (offer(), write_chunk("r1", 0, ROW), hello(held=["x"] * 65), hello(*range(17)), hello(held=[""])):
        session, _ = desk_of(WORK).connect("riga", 0, 0)
        assert goodbye(session.receive(raw, 0)).code == pb.PROTOCOL


def test_names_are_bounded():
    for name in ("", "x" * 201):
        with pytest.raises(MalformedFrame):
            desk_of().connect(name, 0, 0)


def test_the_highest_common_version_is_spoken_and_none_is_a_goodbye_with_both_sides():
    desk = desk_of(versions=frozenset({1, 2}))
    for theirs, spoken in (((1, 2, 3), 2), ((1,), 1)):
        session, _ = desk.connect("riga", 0, 0)
        assert sent(session.receive(hello(*theirs), 0), "welcome")[0].version == spoken
    session, _ = desk.connect("riga", 0, 0)
    said = goodbye(session.receive(hello(3, 4), 0))
    assert said.code == pb.VERSION
    assert said.text == (
        "the coordinator speaks link version 1, 2 and the client 3, 4: install a newer hansa on the coordinator."
    )


def test_a_wrong_clock_is_told_and_the_session_goes_on():
    session, _ = desk_of().connect("riga", 50, 10 * DAY / 1000)
    done = session.receive(hello(clock_ms=9 * DAY), 50)
    (notice,) = [effect for effect in done if isinstance(effect, effects.Notice)]
    assert notice.text == "the clock of client 'riga' is 24.0 h behind the coordinator's: set it, e.g. by NTP."
    assert session.welcomed and sent(done, "welcome")[0].clock_ms == 10 * DAY
    session, _ = desk_of().connect("riga", 50, 10 * DAY / 1000)
    assert not [e for e in session.receive(hello(clock_ms=10 * DAY + 299_000), 51) if isinstance(e, effects.Notice)]


def test_chunks_are_as_long_as_both_allow():
    for wish, agreed in ((0, 2**20), (1, 2**16), (2**17, 2**17), (2**32 - 1, 2**20)):
        assert welcomed(desk_of(), chunk_bytes=wish).chunk == agreed


def test_silence_ends_a_session_and_heartbeats_keep_it():
    desk = desk_of(limits=Limits(heartbeat=10, hello=5))
    session, _ = desk.connect("mute", 0, 0)
    welcomed(desk)
    assert desk.tick(5) == [] and goodbye(desk.tick(6)).code == pb.SILENT
    assert len(sent(desk.tick(10), "heartbeat")) == 1 and desk.tick(19) == []
    riga = desk._sessions["riga"]
    assert riga.receive(frame(heartbeat=pb.Heartbeat()), 25) == []
    assert len(sent(desk.tick(55), "heartbeat")) == 1
    assert goodbye(desk.tick(56)).text == "nothing was heard for 31 s: the line or the other side is down."
    assert desk.connected() == () and session.closed(60) == []


def test_heartbeats_follow_the_rounds_and_a_session_keeps_what_it_was_told():
    desk = desk_of()
    told = []
    for usual, name in ((None, "riga"), (0.1, "bergen"), (12, "lübeck"), (3600, "visby")):
        if usual is not None:
            desk.pace(usual)
        session, _ = desk.connect(name, 0, 0)
        told += sent(session.receive(hello(), 0), "welcome")
    assert [welcome.heartbeat_ms for welcome in told] == [5000, 2000, 4000, 15_000]
    assert [e.session for e in desk.tick(2) if isinstance(e, effects.Send)] == [2]
    assert [e.name for e in desk.tick(7) if isinstance(e, effects.Dropped)] == ["bergen"]
    assert [e.name for e in desk.tick(16) if isinstance(e, effects.Dropped)] == ["riga", "lübeck"]


def test_sessions_are_ended_by_the_shell_and_by_the_client():
    desk = desk_of()
    session = welcomed(desk)
    done = session.receive(frame(goodbye=pb.Goodbye(code=pb.SHUTDOWN, text="bye\x1b")), 0)
    assert [type(e) for e in done] == [effects.Close, effects.Dropped] and done[0].text.endswith("goodbye: bye")
    welcomed(desk)
    assert goodbye(desk.end("riga", pb.REVOKED, "the certificate is revoked: enrol anew.")).code == pb.REVOKED
    assert desk.end("riga", pb.REVOKED, "again") == session.end(pb.REVOKED, "again") == []
    welcomed(desk), welcomed(desk, "bergen")
    assert len(sent(desk.shutdown("the coordinator stops: it will be back."), "goodbye")) == 2
    assert not desk.connected()


def test_bundles_are_handed_through_and_bounded():
    desk = desk_of()
    bundle = pb.Bundle(payload=b"p", signature=b"s", key=b"k")
    assert desk.hand("riga", bundle) == []
    welcomed(desk)
    assert sent(desk.hand("riga", bundle), "bundle") == [bundle]
    with pytest.raises(RequestRefused, match="shorten"):
        desk.hand("riga", pb.Bundle(payload=bytes(2**18)))


def test_a_run_that_welcome_has_no_room_for_is_refused():
    for fields in (
        {"run": "x" * 201},
        {"settings": ("x",) * 1001},
        {"settings": ("x" * 65537,)},
        {"fields": ("x",) * 1001},
    ):
        with pytest.raises(RequestRefused, match="Welcome has room"):
            desk_of(**fields)


@pytest.mark.parametrize("field", ["chunk", "open_requests", "heartbeat", "damaged", "body"])
def test_limits_that_the_protocol_does_not_allow_name_their_field(field):
    with pytest.raises(ValueError, match=f"the link's {field} is -1: choose from"):
        Limits(**{field: -1})
