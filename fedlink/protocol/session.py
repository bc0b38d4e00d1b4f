"""One connection of one client, as the coordinator sees it."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import TYPE_CHECKING

from hansa.fedlink import link_pb2 as pb
from hansa.fedlink.errors import MalformedFrame
from hansa.fedlink.protocol import clocks, goodbye, versions, wire
from hansa.fedlink.protocol.effects import (
    Begin,
    Close,
    Completed,
    Connected,
    Delivered,
    Dropped,
    Notice,
    Send,
    SendBody,
    ServerEffect,
    StopBody,
    Store,
)
from hansa.fedlink.protocol.limits import (
    LONGEST_SOFTWARE,
    MOST_HELD,
    MOST_VERSIONS,
    SMALLEST_CHUNK,
    check_body,
    check_chunk,
    check_head,
    check_id,
)
from hansa.fedlink.protocol.requests import Answer, Open, Phase
from hansa.fedlink.texts import one_line

if TYPE_CHECKING:
    from hansa.fedlink.protocol.desk import Desk

OVERDUE, TICK = 1.5, 1.0
"""A heartbeat is overdue after so many times its pause, and the second within which clients look at their clock."""


class Stage(Enum):
    """How far a session is."""

    NEW = auto()
    WELCOMED = auto()
    ENDED = auto()


@dataclass(kw_only=True, eq=False)
class Session:
    """One connection. The shell calls ``receive`` with each frame's bytes, and ``closed`` when the stream is gone.

    It writes what a frame gave rise to before it reads the next one, so that who sends but does not read is held up.
    """

    desk: Desk
    name: str
    number: int
    heard: float
    """When the last frame came."""
    beaten: float
    """When the last heartbeat was sent."""
    wall: float
    """What to add to ``now`` for seconds since 1970."""
    heartbeat: float
    """Seconds between two heartbeats, as the client was told."""
    chunk: int = 0
    _stage: Stage = Stage.NEW
    _offers: dict[str, Answer] = field(default_factory=dict)
    _asked: set[str] = field(default_factory=set)
    """The requests whose answer's body was asked for in this session and is not complete."""
    _cancelled: deque[str] = field(default_factory=lambda: deque(maxlen=MOST_HELD))
    """The requests that were cancelled while their answer was coming in: its chunks may still be on their way."""

    @property
    def welcomed(self) -> bool:
        return self._stage is Stage.WELCOMED

    def receive(self, raw: bytes, now: float) -> list[ServerEffect]:
        """Take one frame as its bytes; what makes no sense ends this session and no other."""
        if self._stage is Stage.ENDED:
            return []
        self.heard = now
        try:
            frame = wire.read(raw, pb.ClientFrame)
            if self._stage is Stage.NEW:
                return self._first(frame, now)
            return self._chunk(frame) if isinstance(frame, wire.Part) else self._frame(frame)
        except MalformedFrame as error:
            return self.end(pb.PROTOCOL, f"client {self.name!r} sent {error}: install the same hansa.")

    def closed(self, now: float) -> list[ServerEffect]:
        """Say that the stream is gone; nothing more can be sent on it."""
        if self._stage is Stage.ENDED:
            return []
        return [self._over(goodbye.lost())]

    def end(self, code: pb.Code, text: str) -> list[ServerEffect]:
        """End the session with a Goodbye."""
        if self._stage is Stage.ENDED:
            return []
        text = one_line(text)
        said = self._send(pb.ServerFrame(goodbye=pb.Goodbye(code=code, text=text)))
        return [said, Close(session=self.number, code=code, text=text), self._over(text)]

    def tick(self, now: float) -> list[ServerEffect]:
        """End the session if it is silent, or send a heartbeat if one is due."""
        limits = self.desk.limits
        patience = self.heartbeat * limits.missed if self.welcomed else limits.hello
        if now - self.heard > patience:
            return self.end(pb.SILENT, goodbye.silent(now - self.heard))
        if not self.welcomed or now - self.beaten < self.heartbeat:
            return []
        self.beaten = now
        return [self._send(pb.ServerFrame(heartbeat=pb.Heartbeat()))]

    def silence(self, now: float) -> float:
        """Return for how many seconds nothing came, where a heartbeat is overdue; else 0."""
        silent = now - self.heard
        return silent if silent > OVERDUE * self.heartbeat + TICK else 0.0

    def cancel(self, request_id: str, reason: str) -> list[ServerEffect]:
        """Tell the client that a request is taken back."""
        if request_id in self._asked:
            self._cancelled.append(request_id)
        self._drop(request_id)
        stop = StopBody(session=self.number, request_id=request_id)
        return [stop, self._send(pb.ServerFrame(cancel=pb.Cancel(request_id=request_id, reason=reason)))]

    def done(self, request_id: str, gone: bool = False) -> list[ServerEffect]:
        """Tell the client that nothing more is needed of a request."""
        self._drop(request_id)
        return [self._send(pb.ServerFrame(done=pb.Done(request_id=request_id, gone=gone)))]

    def ask_again(self, request: Open) -> list[ServerEffect]:
        """Ask anew for an answer's body, if the client offered one in this session."""
        offer = self._offers.get(request.work.request_id)
        return [] if offer is None else self._ask(request, offer)

    def _first(self, frame: pb.ClientFrame | wire.Part, now: float) -> list[ServerEffect]:
        if isinstance(frame, wire.Part) or frame.WhichOneof("kind") != "hello":
            raise MalformedFrame("something else than Hello as its first frame")
        hello = frame.hello
        if len(hello.versions) > MOST_VERSIONS or len(hello.held) > MOST_HELD:
            raise MalformedFrame(f"a Hello of more than {MOST_VERSIONS} versions or {MOST_HELD} requests")
        held = [check_id(request_id) for request_id in hello.held]
        version = versions.common(self.desk.versions, hello.versions)
        if version is None:
            return self.end(pb.VERSION, versions.no_common(self.desk.versions, hello.versions))
        self._stage, self.beaten = Stage.WELCOMED, now
        self.chunk = self._agreed(hello.chunk_bytes)
        clock_ms = clocks.milliseconds(self.wall + now)
        software = one_line(hello.software, LONGEST_SOFTWARE)
        return [
            self._send(self._welcome(version, clock_ms)),
            Connected(session=self.number, name=self.name, version=version, software=software),
            *self._notices(hello.clock_ms, clock_ms),
            *(effect for held_id in held if not self._request(held_id) for effect in self.done(held_id, gone=True)),
            *(self._send(request.work.frame()) for request in self.desk.open(self.name)),
        ]

    def _agreed(self, wish: int) -> int:
        return min(self.desk.limits.chunk, max(wish, SMALLEST_CHUNK)) if wish else self.desk.limits.chunk

    def _welcome(self, version: int, clock_ms: int) -> pb.ServerFrame:
        desk = self.desk
        welcome = pb.Welcome(
            version=version,
            software=desk.software,
            clock_ms=clock_ms,
            heartbeat_ms=clocks.milliseconds(self.heartbeat),
            chunk_bytes=self.chunk,
            open_requests=desk.limits.open_requests,
            run=pb.Run(id=desk.run, settings=desk.settings, fields=desk.fields),
        )
        return pb.ServerFrame(welcome=welcome)

    def _notices(self, device_ms: int, clock_ms: int) -> list[ServerEffect]:
        whose = f"the clock of client {self.name!r}"
        text = clocks.notice(whose, device_ms, clock_ms, self.desk.limits.skew)
        return [] if text is None else [Notice(text=text, name=self.name)]

    def _frame(self, frame: pb.ClientFrame) -> list[ServerEffect]:
        match frame.WhichOneof("kind"):
            case "want":
                return self._want(check_id(frame.want.request_id), frame.want.offset)
            case "have":
                return self._have(check_id(frame.have.request_id))
            case "refuse":
                return self._refuse(check_id(frame.refuse.request_id), one_line(frame.refuse.text))
            case "offer":
                return self._offer(frame.offer)
            case "heartbeat":
                return []
            case "goodbye":
                return self._goodbye(frame.goodbye)
            case _:
                raise MalformedFrame("a second Hello")

    def _want(self, request_id: str, offset: int) -> list[ServerEffect]:
        if (request := self._request(request_id)) is None:
            return self.done(request_id, gone=True)
        if offset >= request.work.size:
            raise MalformedFrame(f"a Want from byte {offset} of a body of {request.work.size}")
        return [SendBody(session=self.number, request_id=request_id, offset=offset, chunk=self.chunk)]

    def _have(self, request_id: str) -> list[ServerEffect]:
        return [Delivered(name=self.name, request_id=request_id)] if self._request(request_id) else []

    def _refuse(self, request_id: str, text: str) -> list[ServerEffect]:
        request = self._request(request_id)
        if request is None or request.phase is Phase.ANSWERED:
            return []
        if request.phase is Phase.CHECKING:
            request.refusal = text
            return []
        return self.desk.fail(request, text)

    def _offer(self, offer: pb.Offer) -> list[ServerEffect]:
        request_id = check_id(offer.request_id)
        if (request := self._request(request_id)) is None:
            return self.done(request_id, gone=True)
        answer = Answer(head=check_head(offer.head), size=offer.size, sha256=offer.sha256)
        limit = min(request.work.answer_limit, self.desk.limits.answer)
        if answer.size > limit and request.phase is Phase.WAITING:
            return self._too_large(request, answer.size, limit)
        check_body(answer.size, answer.sha256, limit)
        if self._offers.setdefault(request_id, answer) != answer:
            raise MalformedFrame("a second, other answer to one request")
        request.refusal = None
        if request.phase is not Phase.WAITING or request_id in self._asked:
            return []
        return self._ask(request, answer)

    def _too_large(self, request: Open, size: int, limit: int) -> list[ServerEffect]:
        """Fail a request, for its answer would be as large in the next session, and end this one."""
        text = f"an answer of {size} bytes, of which {limit} are allowed"
        return [*self.desk.fail(request, text), *self.end(pb.PROTOCOL, f"client {one_line(self.name)!r} sent {text}.")]

    def _ask(self, request: Open, answer: Answer) -> list[ServerEffect]:
        request_id, effects = request.work.request_id, list[ServerEffect]()
        if request.take(answer):
            effects.append(
                Begin(name=self.name, request_id=request_id, size=answer.size, sha256=answer.sha256),
            )
        if request.stored == answer.size:
            return [*effects, self._complete(request, answer)]
        self._asked.add(request_id)
        ask = pb.Send(request_id=request_id, offset=request.stored)
        return [*effects, self._send(pb.ServerFrame(send=ask))]

    def _chunk(self, part: wire.Part) -> list[ServerEffect]:
        request_id, length = part.request_id, len(part.data)
        request = self._request(request_id) if request_id in self._asked else None
        if request is None or request.answer is None:
            if request_id in self._cancelled:
                return []
            raise MalformedFrame("a Chunk of a request that was not asked for")
        check_chunk(part.offset, length, request.stored, request.answer.size, self.chunk)
        request.stored += length
        store = Store(name=self.name, request_id=request_id, offset=part.offset, data=part.data)
        if request.stored < request.answer.size:
            return [store]
        self._asked.discard(request_id)
        return [store, self._complete(request, request.answer)]

    def _complete(self, request: Open, answer: Answer) -> Completed:
        request.phase = Phase.CHECKING
        return Completed(
            name=self.name,
            request_id=request.work.request_id,
            head=answer.head,
            size=answer.size,
            sha256=answer.sha256,
        )

    def _goodbye(self, said: pb.Goodbye) -> list[ServerEffect]:
        text = f"the client said goodbye: {one_line(said.text)}"
        return [Close(session=self.number, code=said.code, text=text), self._over(text)]

    def _request(self, request_id: str) -> Open | None:
        return self.desk.find(self.name, request_id)

    def _drop(self, request_id: str) -> None:
        self._asked.discard(request_id)
        self._offers.pop(request_id, None)

    def _over(self, text: str) -> Dropped:
        self._stage = Stage.ENDED
        self._asked.clear()
        self._offers.clear()
        self._cancelled.clear()
        self.desk.left(self)
        return Dropped(session=self.number, name=self.name, text=text)

    def _send(self, frame: pb.ServerFrame) -> Send:
        return Send(session=self.number, frame=frame)
