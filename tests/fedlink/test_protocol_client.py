"""Laws of the client's machine, one by one."""

from __future__ import annotations

import hashlib
import itertools

import pytest

from hansa.fedlink import link_pb2 as pb
from hansa.fedlink.errors import RequestRefused
from hansa.fedlink.protocol import Answer, Client, Held, Limits, effects, pause
from hansa.fedlink.protocol.wire import write_chunk

BODY = b"0123456789"
HASH = hashlib.sha256(BODY).digest()
ANSWER = Answer(head=b"ok", size=3, sha256=bytes(32))
WELCOME = {"version": 1, "heartbeat_ms": 10_000, "chunk_bytes": 2**16, "open_requests": 2}


def frame(**kind):
    return pb.ServerFrame(**kind).SerializeToString()


def work(request_id="r1", **changed):
    fields = {"request_id": request_id, "head": b"train", "size": 10, "sha256": HASH, "answer_limit": 5}
    return frame(work=pb.Work(**{**fields, **changed}))


def client_of(*held, **fields):
    client = Client(software="hansa", held=held, **fields)
    return connect(client)


def connect(client, now=0.0, **welcome):
    client.start(now, now)
    client.receive(frame(welcome=pb.Welcome(**{**WELCOME, **welcome})), now)
    return client


def said(done, kind):
    """The frames of a kind among effects."""
    frames = [effect.frame for effect in done if isinstance(effect, effects.Send)]
    return [getattr(f, kind) for f in frames if f.WhichOneof("kind") == kind]


def working(client, request_id="r1"):
    """Bring a request to where it is worked on."""
    client.receive(work(request_id), 0)
    client.receive(write_chunk(request_id, 0, BODY), 0)
    return client.downloaded(request_id)


def ended(done):
    assert isinstance(done[-1], effects.Ended)
    return done[-1]


def test_hello_tells_all_that_is_held():
    held = Held(request_id="r1", size=10, sha256=HASH, stored=4)
    client = Client(software="hansa 0.2.0", held=[held], versions=frozenset({2, 1}), limits=Limits(chunk=2**17))
    (hello,) = said(client.start(5, 1000.5), "hello")
    expected = pb.Hello(versions=[1, 2], software="hansa 0.2.0", clock_ms=1_000_500, chunk_bytes=2**17, held=["r1"])
    assert hello == expected


def test_welcome_tells_how_the_coordinator_speaks_and_a_wrong_clock():
    client = Client(software="h")
    client.start(0, 0)
    run = pb.Run(id="run", settings=["a=1"], fields=["a=0f"])
    welcomed, notice = client.receive(frame(welcome=pb.Welcome(**WELCOME, clock_ms=86_400_000, run=run)), 0)
    assert (welcomed.chunk, welcomed.heartbeat, welcomed.run, welcomed.settings) == (2**16, 10, "run", ("a=1",))
    assert welcomed.fields == ("a=0f",)
    assert notice.text == "this device's clock is 24.0 h behind the coordinator's: set it, e.g. by NTP."


@pytest.mark.parametrize("words", [{"settings": ["x"] * 1001}, {"fields": ["x"] * 1001}, {"fields": ["x" * 65537]}])
def test_a_welcome_with_more_words_than_are_allowed_ends_the_connection(words):
    client = Client(software="h")
    client.start(0, 0)
    effects_ = client.receive(frame(welcome=pb.Welcome(**WELCOME, run=pb.Run(id="run", **words))), 0)
    assert "settings or fields are too long" in ended(effects_).text


def test_a_body_is_resumed_where_the_line_broke():
    client = client_of()
    start, want = client.receive(work(), 0)
    assert start.size == 10 and want.frame.want.offset == 0
    assert client.receive(work(), 0) == [], "the same work again"
    client.receive(write_chunk("r1", 0, BODY[:4]), 0)
    assert ended(client.closed(0)).come_back and client.closed(0) == []
    assert client.receive(write_chunk("r1", 4, BODY[4:]), 0) == [], "a frame after the end"
    (want,) = connect(client).receive(work(), 0)
    assert want.frame.want.offset == 4
    store, complete = client.receive(write_chunk("r1", 4, BODY[4:]), 0)
    assert store.offset == 4 and isinstance(complete, effects.BodyComplete)


@pytest.mark.parametrize("stored", [0, 4])
def test_a_new_process_resumes_from_its_spool(stored):
    (want,) = client_of(Held(request_id="r1", size=10, sha256=HASH, stored=stored)).receive(work(), 0)
    assert want.frame.want.offset == stored


def test_a_new_process_checks_a_whole_body_and_works():
    client = client_of(Held(request_id="r1", size=10, sha256=HASH, stored=10))
    assert client.receive(work(), 0) == [effects.BodyComplete(request_id="r1", size=10, sha256=HASH)]
    have, run = client.downloaded("r1")
    assert have.frame.have.request_id == "r1" and run.head == b"train"


def test_a_new_process_drops_a_part_of_another_body():
    client = client_of(Held(request_id="r1", size=10, sha256=bytes(32), stored=4))
    start, want = client.receive(work(), 0)
    assert start.sha256 == HASH and want.frame.want.offset == 0


def test_a_new_process_offers_its_answer():
    client = client_of(Held(request_id="r1", size=10, sha256=HASH, stored=10, answer=ANSWER))
    (offer,) = said(client.receive(work(), 0), "offer")
    assert (offer.head, offer.size) == (b"ok", 3)


def test_work_without_a_body_runs_at_once():
    have, run = client_of().receive(work(size=0, sha256=b""), 0)
    assert have.frame.have.request_id == "r1" and (run.size, run.answer_limit) == (0, 5)


def test_work_goes_on_while_the_line_is_down_and_its_answer_is_offered_after():
    client = client_of()
    working(client)
    client.closed(0)
    assert client.answered("r1", ANSWER) == []
    assert client.answered("r1", ANSWER) == [], "again changes nothing"
    connect(client)
    assert len(said(client.receive(work(), 0), "offer")) == 1
    assert client.receive(work(), 0) == [], "once a connection"
    ask = frame(send=pb.Send(request_id="r1", offset=2))
    assert client.receive(ask, 0) == [effects.UploadFrom(request_id="r1", offset=2, chunk=2**16)]
    assert client.receive(frame(done=pb.Done(request_id="r1")), 0) == [effects.Forget(request_id="r1")]
    assert client.receive(frame(done=pb.Done(request_id="r1")), 0) == []


def test_work_again_while_it_is_worked_on_is_had_and_not_run_again():
    client = client_of()
    working(client)
    assert [e.frame.WhichOneof("kind") for e in client.receive(work(), 0)] == ["have"]


def test_an_answer_that_cannot_be_sent_is_refused_and_one_that_nobody_waits_for_is_forgotten():
    client = client_of()
    assert client.answered("r1", ANSWER) == [effects.Forget(request_id="r1")]
    client.receive(work(), 0)
    with pytest.raises(RequestRefused, match="wait for RunWork"):
        client.answered("r1", ANSWER)
    client.receive(write_chunk("r1", 0, BODY), 0)
    client.downloaded("r1")
    for answer in (Answer(head=b"", size=6, sha256=HASH), Answer(head=bytes(65537)), Answer(head=b"", size=1)):
        with pytest.raises(RequestRefused, match="'r1' has a"):
            client.answered("r1", answer)
    client.answered("r1", ANSWER)
    with pytest.raises(RequestRefused):
        client.answered("r1", Answer(head=b"other"))


def test_a_damaged_body_is_asked_for_anew_and_in_the_end_refused():
    client = client_of(limits=Limits(damaged=2))
    client.receive(work(), 0)
    client.receive(write_chunk("r1", 0, BODY), 0)
    start, want = client.damaged("r1")
    assert isinstance(start, effects.StartBody) and want.frame.want.offset == 0
    client.receive(write_chunk("r1", 0, BODY), 0)
    gone, refusal = client.damaged("r1")
    assert isinstance(gone, effects.CancelWork) and "damaged 2 times" in refusal.frame.refuse.text
    assert client.damaged("r1") == client.downloaded("r1") == client.refuse("r1", "again") == []


def test_a_body_that_is_judged_while_the_line_is_down_begins_anew_after():
    client = client_of()
    client.receive(work(), 0)
    client.receive(write_chunk("r1", 0, BODY), 0)
    client.closed(0)
    assert client.damaged("r1") == []
    start, want = connect(client).receive(work(), 0)
    assert isinstance(start, effects.StartBody) and want.frame.want.offset == 0


def test_too_large_a_body_is_refused_and_not_held():
    client = client_of(limits=Limits(body=9))
    (refuse,) = said(client.receive(work(), 0), "refuse")
    assert "10 bytes is longer than the 9" in refuse.text and client.holds() == ()


@pytest.mark.parametrize("end", ["cancel", "done", "refuse"])
def test_chunks_of_a_request_that_went_may_still_be_on_their_way(end):
    client = client_of()
    client.receive(work(), 0)
    if end == "refuse":
        done = client.refuse("r1", "no room")
    else:
        done = client.receive(frame(**{end: {"request_id": "r1"}}), 0)
    assert isinstance(done[0], effects.CancelWork)
    assert client.receive(write_chunk("r1", 0, BODY), 0) == []
    assert client.receive(frame(cancel=pb.Cancel(request_id="r1")), 0) == []


NONSENSE = {
    "a second Welcome": (frame(welcome=pb.Welcome(**WELCOME)), "second Welcome"),
    "more work than allowed": (work("r3"), "more than the 2 requests"),
    "a chunk that nobody asked for": (write_chunk("r3", 0, BODY), "not asked for"),
    "a chunk out of order": (write_chunk("r2", 1, b"x"), "at byte 1 where 0"),
    "too long a chunk": (write_chunk("r2", 0, bytes(2**16 + 1)), "of 65537 bytes"),
    "more than was announced": (write_chunk("r2", 0, bytes(11)), "ends at byte 11"),
    "a Send without an offer": (frame(send=pb.Send(request_id="r2")), "not offered"),
    "a Send from the end on": (frame(send=pb.Send(request_id="r1", offset=3)), "from byte 3"),
    "no hash": (work("r2", sha256=b""), "a hash of 0"),
    "too long a head": (work("r2", head=bytes(65537)), "a head of 65537"),
    "no kind": (b"", "of a kind"),
}


@pytest.mark.parametrize("name", NONSENSE)
def test_nonsense_ends_the_connection_and_nothing_that_is_held_is_lost(name):
    raw, told = NONSENSE[name]
    client = client_of()
    working(client)
    client.answered("r1", ANSWER)
    client.receive(work("r2"), 0)
    done = client.receive(raw, 0)
    assert said(done, "goodbye")[0].code == pb.PROTOCOL
    assert told in ended(done).text and ended(done).come_back
    assert client.holds() == ("r1", "r2")


@pytest.mark.parametrize(
    "changed",
    [
        {"version": 2},
        {"heartbeat_ms": 999},
        {"chunk_bytes": 2**16 - 1},
        {"open_requests": 65},
        {"run": pb.Run(id="x" * 201)},
    ],
)
def test_a_welcome_outside_of_the_protocol_is_none(changed):
    client = Client(software="h")
    client.start(0, 0)
    assert ended(client.receive(frame(welcome=pb.Welcome(**{**WELCOME, **changed})), 0)).code == pb.PROTOCOL


@pytest.mark.parametrize("raw", [work(), write_chunk("r1", 0, BODY)])
def test_what_comes_first_is_welcome(raw):
    client = Client(software="h")
    client.start(0, 0)
    assert "Welcome as its first" in ended(client.receive(raw, 0)).text


def test_the_code_of_a_goodbye_says_whether_to_come_back():
    away = {pb.REPLACED, pb.REVOKED, pb.VERSION, pb.REFUSED}
    for code in range(12):
        end = ended(client_of().receive(frame(goodbye=pb.Goodbye(code=code, text="why\n")), 0))
        assert (end.code, end.text, end.come_back) == (code, "why", code not in away)
    client = Client(software="h")
    client.start(0, 0)
    assert not ended(client.receive(frame(goodbye=pb.Goodbye(code=pb.VERSION)), 0)).come_back


def test_silence_ends_a_connection_and_heartbeats_keep_it():
    client = Client(software="h", limits=Limits(hello=5))
    assert client.tick(0) == []
    client.start(0, 0)
    assert client.tick(5) == []
    assert ended(client.tick(6)).code == pb.SILENT
    connect(client)
    assert len(said(client.tick(10), "heartbeat")) == 1 and client.tick(19) == []
    assert client.receive(frame(heartbeat=pb.Heartbeat()), 20) == []
    assert len(said(client.tick(50), "heartbeat")) == 1
    assert ended(client.tick(51)).come_back


def test_a_client_that_leaves_says_so_and_keeps_what_it_holds():
    client = client_of()
    working(client)
    goodbye, end = client.stop("it is shut down")
    assert goodbye.frame.goodbye.code == pb.SHUTDOWN and not end.come_back
    assert client.stop("again") == [] and client.holds() == ("r1",)


def test_bundles_are_handed_through():
    bundle = frame(bundle=pb.Bundle(payload=b"p", signature=b"s", key=b"k"))
    assert client_of().receive(bundle, 0) == [effects.Bundled(payload=b"p", signature=b"s", key=b"k")]


def test_a_spool_that_holds_too_much_is_refused():
    held = [Held(request_id=f"r{n}", size=1, sha256=HASH, stored=0) for n in range(65)]
    with pytest.raises(RequestRefused, match="65 requests"):
        Client(software="h", held=held)


def test_bodies_and_answers_are_bounded_together_and_not_only_one_by_one():
    client = connect(Client(software="h", limits=Limits(body=12, answer=12, held=25)), open_requests=8)
    working(client, "r1")
    client.receive(work("r2"), 0)
    cancelled, refused = client.receive(work("r3"), 0)
    assert cancelled.request_id == "r3" and "of its body of 10 bytes 5 have room here" in cancelled.reason
    assert refused.frame.refuse.request_id == "r3" and client.holds() == ("r1", "r2")
    with pytest.raises(RequestRefused, match="a body of 6 bytes, of which 5 are allowed"):
        client.answered("r1", Answer(head=b"", size=6, sha256=HASH))
    client.answered("r1", Answer(head=b"", size=5, sha256=HASH))
    assert said(client.receive(work("r4", size=1), 0), "refuse"), "an answer that waits counts too"


def test_an_answer_is_no_longer_than_the_client_sends_whatever_a_request_allows():
    client = client_of(limits=Limits(answer=2))
    working(client)
    with pytest.raises(RequestRefused, match="a body of 3 bytes, of which 2 are allowed"):
        client.answered("r1", ANSWER)


@pytest.mark.parametrize("size", [13, 2**36])
def test_a_request_that_comes_again_with_another_size_is_as_bounded_as_a_new_one(size):
    client = client_of(limits=Limits(body=12))
    client.receive(work(), 0)
    client.closed(1)
    connect(client, 2)
    (refused,) = said(client.receive(work(size=size), 3), "refuse")
    assert f"its body of {size} bytes is longer than the 12" in refused.text and client.holds() == ()


def test_a_client_is_back_after_a_sixth_of_an_outage_and_a_minute_at_most():
    assert [pause(outage, 1.0) for outage in (0, 12, 60, 360, 1e9)] == [2, 2, 10, 60, 60]
    assert [pause(outage, 0.0) for outage in (0, 60, 1e9)] == [1, 5, 30]
    now, tries = 0.0, []
    while now < 3600:
        tries.append(now := now + pause(now, 1.0))
    assert all(late - early <= max(2, early / 6) + 1e-9 for early, late in itertools.pairwise(tries))


def test_a_line_that_falls_silent_under_a_body_is_asked_for_smaller_chunks():
    client = client_of()
    assert ended(client.tick(31)).code == pb.SILENT
    assert said(client.start(40, 40), "hello")[0].chunk_bytes == 2**20, "no body was on its way"
    for chunk in (2**19, 2**18, 2**17, 2**16, 2**16):
        connect(client).receive(work(), 0)
        client.receive(frame(goodbye=pb.Goodbye(code=pb.SILENT)), 0)
        assert said(client.start(0, 0), "hello")[0].chunk_bytes == chunk


def test_an_answer_that_cannot_be_read_is_refused():
    client = client_of()
    working(client)
    client.answered("r1", ANSWER)
    gone, refusal = client.refuse("r1", "the disk is broken")
    assert isinstance(gone, effects.CancelWork) and refusal.frame.refuse.text == "the disk is broken"
    assert client.holds() == () and client.refuse("r1", "again") == []
    assert client.receive(frame(send=pb.Send(request_id="r1")), 0) == [], "it was on its way"
