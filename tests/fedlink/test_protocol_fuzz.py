"""Frames of any content into both machines: none raises, memory is bounded, and other sessions go on.

``HANSA_FUZZ`` says how many, see ``tests/fuzz/amount.py``: a million take 73 s of one core (2026-11).
"""

from __future__ import annotations

import sys
from collections import deque
from dataclasses import fields, is_dataclass
from enum import Enum
from random import Random

from google.protobuf.message import Message

from hansa.fedlink import link_pb2 as pb
from hansa.fedlink.protocol import Answer, Client, Desk, Held, Limits, Work, effects
from hansa.fedlink.protocol.wire import write_chunk
from tests.fuzz.amount import FRAMES

IDS = ("r1", "r2", "r3", "r4", "unknown", "", "x" * 201, "é")
SIZES = (0, 1, 10, 10, 2**36, 2**36 + 1, 2**64 - 1)
LIMITS = Limits(open_requests=4)
HASH = bytes(32)
BOUND = 2 * 2**20
"""Bytes that a machine with one client may keep: 4 requests with two heads each, and room to spare."""


def weight(thing, seen=None):
    """The bytes that a machine keeps alive."""
    seen = set() if seen is None else seen
    if id(thing) in seen or thing is None or isinstance(thing, Enum | type):
        return 0
    seen.add(id(thing))
    own = sys.getsizeof(thing, 100)
    if isinstance(thing, Message):
        return own + thing.ByteSize()
    if isinstance(thing, memoryview):
        return own + len(thing.obj)
    if isinstance(thing, dict):
        return own + sum(weight(k, seen) + weight(v, seen) for k, v in thing.items())
    if isinstance(thing, list | tuple | set | frozenset | deque):
        return own + sum(weight(one, seen) for one in thing)
    if is_dataclass(thing):
        return own + sum(weight(getattr(thing, field.name), seen) for field in fields(thing))
    return own


class Values:
    """Fields of frames: mostly some that could be meant, sometimes the worst.

    ``chunks`` and ``sends`` are the ids and offsets that are expected next, if any are.
    """

    def __init__(self, random, chunks, sends=()):
        self.random, wild = random, random.random() < 0.1
        self.id = random.choice(IDS if wild else IDS[:4])
        self.size = random.choice(SIZES if wild else SIZES[:4])
        self.offset = random.choice(SIZES) if wild else random.choice((0, 0, 0, 1))
        self.head = random.choice((b"", bytes(65537), bytes(65536)) if wild else (b"", b"head"))
        self.hash = random.choice((b"", b"x", HASH)) if wild else HASH if self.size else b""
        self.data = bytes(random.choice((0, 1, 9, 10, 290, 65537) if wild else (1, 9, 10)))
        self.many = 70 if wild else 2
        self.chunk = self._expected(chunks)
        self.send = self._expected(sends)

    def _expected(self, expected):
        sensible = expected and self.random.random() < 0.9
        return self.random.choice(expected) if sensible else (self.id, self.offset)

    def of(self, **kinds):
        """One of the kinds, each of a weight, as a choice."""
        return self.random.choices(list(kinds), kinds.values())[0]


def client_frame(random, chunks):
    """A well-formed frame of a client, with any values."""
    v = Values(random, chunks)
    frame = pb.ClientFrame()
    match v.of(
        hello=0.3, want=9, have=3, refuse=2, offer=20, chunk=20 if chunks else 1, heartbeat=3, goodbye=0.3, none=0.3
    ):
        case "hello":
            frame.hello.versions.extend(random.choice(([1], [1, 2], [7], [], [1] * 17)))
            frame.hello.held.extend([v.id] * v.many)
        case "want":
            frame.want.request_id, frame.want.offset = v.id, v.offset
        case "have":
            frame.have.request_id = v.id
        case "refuse":
            frame.refuse.request_id, frame.refuse.text = v.id, "no\n" * v.many * 10
        case "offer":
            frame.offer.MergeFrom(pb.Offer(request_id=v.id, head=v.head, size=v.size, sha256=v.hash))
        case "chunk":
            frame.chunk.MergeFrom(pb.Chunk(request_id=v.chunk[0], offset=v.chunk[1], data=v.data))
        case "heartbeat":
            frame.heartbeat.SetInParent()
        case "goodbye":
            frame.goodbye.code, frame.goodbye.text = random.randrange(12), "bye\n" * v.many * 10
    return frame.SerializeToString()


def server_frame(random, chunks, sends):
    """A well-formed frame of a coordinator, with any values."""
    v = Values(random, chunks, sends)
    frame = pb.ServerFrame()
    match v.of(
        welcome=0.3,
        work=20,
        cancel=2,
        send=9 if sends else 1,
        chunk=20 if chunks else 1,
        done=2,
        goodbye=0.3,
        bundle=2,
        none=0.3,
    ):
        case "welcome":
            frame.welcome.version, frame.welcome.open_requests = 1, v.many
        case "work":
            work = pb.Work(request_id=v.id, head=v.head, size=v.size, sha256=v.hash, answer_limit=SIZES[2] * v.many)
            frame.work.MergeFrom(work)
        case "cancel":
            frame.cancel.request_id, frame.cancel.reason = v.id, "no\n" * v.many * 10
        case "send":
            frame.send.request_id, frame.send.offset = v.send
        case "chunk":
            frame.chunk.MergeFrom(pb.Chunk(request_id=v.chunk[0], offset=v.chunk[1], data=v.data))
        case "done":
            frame.done.request_id, frame.done.gone = v.id, True
        case "goodbye":
            frame.goodbye.code, frame.goodbye.text = random.randrange(12), "bye\n" * v.many * 10
        case "bundle":
            frame.bundle.payload = v.head
    return frame.SerializeToString()


def mutated(random, raw):
    """Mostly the frame; else with a byte changed, lost, doubled or cut off, or random bytes in its place."""
    draw, at = random.random(), random.randrange(len(raw) + 1)
    if draw < 0.06 and raw:
        at = min(at, len(raw) - 1)
        return raw[:at] + bytes((raw[at] ^ 1 << random.randrange(8),)) + raw[at + 1 :]
    if draw < 0.08:
        return raw[:at]
    if draw < 0.1:
        return raw[:at] + raw[at + 1 :]
    if draw < 0.12:
        return raw + raw[at:]
    if draw < 0.14:
        return random.randbytes(random.randrange(40))
    return raw


class Coordinator:
    """A desk with one client that sends anything, and one that behaves."""

    def __init__(self, random):
        self.random, self.session, self.ends, self.number = random, None, 0, 0
        self.desk = Desk(software="h", limits=LIMITS)
        self.calm, _ = self.desk.connect("calm", 0, 0)
        self.calm.receive(pb.ClientFrame(hello=pb.Hello(versions=[1])).SerializeToString(), 0)

    def feed(self, now):
        if self.session is None:
            for request_id in IDS[:4]:
                self.desk.submit("wild", Work(request_id=request_id, size=10, sha256=HASH, answer_limit=2**36))
            self.session, _ = self.desk.connect("wild", now, now)
            self.session.receive(pb.ClientFrame(hello=pb.Hello(versions=[1])).SerializeToString(), now)
        chunks = [(i, self.desk.find("wild", i).stored) for i in sorted(self.session._asked)]
        done = self.session.receive(mutated(self.random, client_frame(self.random, chunks)), now)
        for effect in done:
            if isinstance(effect, effects.Completed):
                verdict = self.random.choice((self.desk.accepted, self.desk.accepted, self.desk.damaged))
                for answered in verdict(effect.request_id):
                    if isinstance(answered, effects.Answered):
                        self.desk.finish(effect.request_id)
            elif isinstance(effect, effects.Close):
                assert "\n" not in effect.text and len(effect.text) <= 600
                self.ends, self.session = self.ends + 1, None
        return done

    def still_serves(self):
        """Whether the client that behaves gets its work and is answered."""
        self.number += 1
        request_id = f"calm {self.number}"
        self.desk.submit("calm", Work(request_id=request_id))
        offer = pb.ClientFrame(offer=pb.Offer(request_id=request_id, size=3, sha256=HASH))
        self.calm.receive(offer.SerializeToString(), 0)
        *_, completed = self.calm.receive(write_chunk(request_id, 0, b"row"), 0)
        return self.desk.accepted(completed.request_id) and self.desk.finish(request_id)


class Device:
    """A client whose coordinator sends anything."""

    def __init__(self, random):
        self.random, self.apart, self.ends = random, True, 0
        answer = Answer(head=b"h", size=10, sha256=HASH)
        held = [Held(request_id="r1", size=10, sha256=HASH, stored=3, answer=answer)]
        self.client = Client(software="h", held=held, limits=LIMITS)

    def feed(self, now):
        if self.apart:
            self.client.start(now, now)
            self.apart = False
            welcome = pb.Welcome(version=1, heartbeat_ms=15000, chunk_bytes=2**16, open_requests=4)
            self.client.receive(pb.ServerFrame(welcome=welcome).SerializeToString(), now)
        chunks = [(i, self.client._tasks[i].stored) for i in sorted(self.client._wanted)]
        sends = [(i, 0) for i in sorted(self.client._offered)]
        done = self.client.receive(mutated(self.random, server_frame(self.random, chunks, sends)), now)
        for effect in done:
            if isinstance(effect, effects.BodyComplete):
                verdict = self.random.choice((self.client.downloaded, self.client.damaged))
                verdict(effect.request_id)
            elif isinstance(effect, effects.RunWork) and effect.answer_limit >= 10:
                self.client.answered(effect.request_id, Answer(head=b"h", size=10, sha256=HASH))
            elif isinstance(effect, effects.Ended):
                self.ends, self.apart = self.ends + 1, True
        return done


def test_any_frames_leave_the_coordinator_whole():
    coordinator, seen = Coordinator(Random(1)), set()
    for number in range(FRAMES // 2):
        seen |= {type(effect) for effect in coordinator.feed(float(number))}
        if number % 500 == 0:
            assert coordinator.still_serves()
            assert weight(coordinator.desk) < BOUND
    assert coordinator.ends > FRAMES / 50
    assert {effects.SendBody, effects.Begin, effects.Store, effects.Completed, effects.Failed, effects.Close} <= seen


def test_any_frames_leave_the_client_whole():
    device, seen = Device(Random(2)), set()
    for number in range(FRAMES // 2):
        seen |= {type(effect) for effect in device.feed(float(number))}
        if number % 500 == 0:
            assert weight(device.client) < BOUND
    assert device.ends > FRAMES / 50
    assert {effects.StartBody, effects.StoreBody, effects.BodyComplete, effects.UploadFrom, effects.Ended} <= seen
    assert {effects.Forget, effects.CancelWork, effects.Bundled, effects.RunWork} <= seen
