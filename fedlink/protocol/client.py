"""The client's side of the link, without I/O: what it holds, and one connection after the other.

A ``Client`` lives as long as the client's process. For each connection call ``start``, write the frame it returns, give
each frame's bytes to ``receive``, and call ``closed`` when the stream is gone. All methods return effects, which the
shell carries out in order; none blocks. It is not for use from several threads at once. ``now`` is a monotonic clock
in seconds, ``wall`` are seconds since 1970.

What a new process finds in its spool it hands in as ``Held``: bodies that were stored in part or whole, and answers
that were written to disk before ``answered`` was called.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import Enum, auto

from hansa.fedlink import link_pb2 as pb
from hansa.fedlink.errors import MalformedFrame, RequestRefused
from hansa.fedlink.protocol import clocks, goodbye, wire
from hansa.fedlink.protocol.effects import (
    BodyComplete,
    Bundled,
    CancelWork,
    ClientEffect,
    Ended,
    Forget,
    Notice,
    RunWork,
    Send,
    StartBody,
    StoreBody,
    UploadFrom,
    Welcomed,
)
from hansa.fedlink.protocol.limits import (
    LARGEST_CHUNK,
    LONGEST_SOFTWARE,
    MOST_HELD,
    SMALLEST_CHUNK,
    Limits,
    check_body,
    check_chunk,
    check_head,
    check_id,
    fits,
)
from hansa.fedlink.protocol.requests import Answer
from hansa.fedlink.protocol.tasks import Held, Phase, Task
from hansa.fedlink.protocol.versions import VERSIONS
from hansa.fedlink.texts import one_line, plain


class Stage(Enum):
    """How far the connection is."""

    APART = auto()
    GREETING = auto()
    WELCOMED = auto()


@dataclass(kw_only=True, eq=False)
class Client:
    """One client of a coordinator; raises RequestRefused where more is held than the protocol allows."""

    software: str
    held: Iterable[Held] = ()
    limits: Limits = field(default_factory=Limits)
    versions: frozenset[int] = VERSIONS
    _tasks: dict[str, Task] = field(default_factory=dict)
    _stage: Stage = Stage.APART
    _heard: float = 0.0
    _beaten: float = 0.0
    _wall: float = 0.0
    _heartbeat: float = 0.0
    _chunk: int = 0
    _wish: int = 0
    """Bytes of a chunk; halved when a line was silent, for a heartbeat cannot overtake a chunk on a slow one."""
    _most: int = 0
    _wanted: set[str] = field(default_factory=set)
    """The requests whose body was asked for on this connection and is not complete."""
    _offered: set[str] = field(default_factory=set)
    _cancelled: deque[str] = field(default_factory=lambda: deque(maxlen=MOST_HELD))
    """The requests that went while a body of theirs moved: its chunks, or a Send, may still be on their way."""

    def __post_init__(self) -> None:
        self._wish = self.limits.chunk
        for held in self.held:
            self._tasks[check_id(held.request_id)] = Task.of(held)
        self.held = ()
        if len(self._tasks) > MOST_HELD:
            raise RequestRefused(
                f"the spool holds {len(self._tasks)} requests, of which {MOST_HELD} are allowed: empty the oldest."
            )

    def start(self, now: float, wall: float) -> list[ClientEffect]:
        """Begin a connection; the first effect is the frame to write first."""
        self._apart()
        self._stage, self._heard, self._wall = Stage.GREETING, now, wall - now
        hello = pb.Hello(
            versions=sorted(self.versions),
            software=self.software,
            clock_ms=clocks.milliseconds(wall),
            chunk_bytes=self._wish,
            held=list(self._tasks),
        )
        return [Send(frame=pb.ClientFrame(hello=hello))]

    def receive(self, raw: bytes, now: float) -> list[ClientEffect]:
        """Take one frame as its bytes; what makes no sense ends the connection, and what is held stays."""
        if self._stage is Stage.APART:
            return []
        self._heard = now
        try:
            frame = wire.read(raw, pb.ServerFrame)
            if self._stage is Stage.GREETING:
                return self._first(frame, now)
            return self._take_chunk(frame) if isinstance(frame, wire.Part) else self._frame(frame)
        except MalformedFrame as error:
            return self._leave(pb.PROTOCOL, f"the coordinator sent {error}: install the same hansa.", True)

    def closed(self, now: float) -> list[ClientEffect]:
        """Say that the stream is gone."""
        return [] if self._stage is Stage.APART else [self._ended(pb.CODE_UNSPECIFIED, goodbye.lost(), True)]

    def stop(self, text: str) -> list[ClientEffect]:
        """Leave in order; what is held stays for the next ``start`` or process."""
        return [] if self._stage is Stage.APART else self._leave(pb.SHUTDOWN, one_line(text), False)

    def tick(self, now: float) -> list[ClientEffect]:
        """End a silent connection, or send a heartbeat if one is due; call it about once a second."""
        if self._stage is Stage.APART:
            return []
        welcomed = self._stage is Stage.WELCOMED
        patience = self._heartbeat * self.limits.missed if welcomed else self.limits.hello
        if now - self._heard > patience:
            return self._leave(pb.SILENT, goodbye.silent(now - self._heard), True)
        if not welcomed or now - self._beaten < self._heartbeat:
            return []
        self._beaten = now
        return [Send(frame=pb.ClientFrame(heartbeat=pb.Heartbeat()))]

    def downloaded(self, request_id: str) -> list[ClientEffect]:
        """Say after BodyComplete that the hash is right: the work is run."""
        task = self._tasks.get(request_id)
        if task is None or task.work is None or task.phase is not Phase.CHECKING:
            return []
        return self._run(task, task.work)

    def damaged(self, request_id: str) -> list[ClientEffect]:
        """Say after BodyComplete that the hash is wrong: the body is asked for anew, and in the end refused."""
        task = self._tasks.get(request_id)
        if task is None or task.work is None or task.phase is not Phase.CHECKING:
            return []
        task.damaged += 1
        if task.damaged >= self.limits.damaged:
            text = f"its body arrived damaged {task.damaged} times: look at the coordinator's disk or the device's."
            return self.refuse(request_id, text)
        task.stored, task.sha256, task.phase = 0, b"", Phase.FETCHING
        return self._resume(task, task.work) if self._stage is Stage.WELCOMED else []

    def answered(self, request_id: str, answer: Answer) -> list[ClientEffect]:
        """Say that the answer is complete on disk; it is offered now or after the next connect, until it is taken.

        An answer that nobody waits for any more gives Forget. Raises RequestRefused where the answer is longer than
        allowed or the request is not being worked on.
        """
        if (task := self._tasks.get(request_id)) is None:
            return [Forget(request_id=request_id)]
        if task.phase is Phase.ANSWERED and task.answer == answer:
            return []
        if task.phase is not Phase.WORKING or task.work is None:
            raise RequestRefused(
                f"request {request_id!r} is not being worked on, so it has no answer: wait for RunWork."
            )
        try:
            check_head(answer.head)
            room = min(task.work.answer_limit, self.limits.answer, self._rest(task) - task.size)
            check_body(answer.size, answer.sha256, max(room, 0))
        except MalformedFrame as error:
            raise RequestRefused(f"the answer to {request_id!r} has {error}: answer with a failure instead.") from None
        task.answer, task.phase = answer, Phase.ANSWERED
        return self._offer(task, answer) if self._stage is Stage.WELCOMED else []

    def refuse(self, request_id: str, text: str) -> list[ClientEffect]:
        """Give a request up: no room, it cannot be read, or its answer cannot. All that is held of it goes.

        Where the connection is down the coordinator is not told, sends its Work again, and may be refused again.
        """
        if self._drop(request_id) is None:
            return []
        effects: list[ClientEffect] = [CancelWork(request_id=request_id, reason=one_line(text))]
        return [*effects, self._refusal(request_id, text)] if self._stage is Stage.WELCOMED else effects

    def holds(self) -> tuple[str, ...]:
        """Return the ids of all requests of which anything is held."""
        return tuple(self._tasks)

    def _first(self, frame: pb.ServerFrame | wire.Part, now: float) -> list[ClientEffect]:
        which = None if isinstance(frame, wire.Part) else frame.WhichOneof("kind")
        if isinstance(frame, wire.Part) or which not in ("welcome", "goodbye"):
            raise MalformedFrame("something else than Welcome as its first frame")
        return self._welcome(frame.welcome, now) if which == "welcome" else self._goodbye(frame.goodbye)

    def _welcome(self, said: pb.Welcome, now: float) -> list[ClientEffect]:
        _check_welcome(said, self.versions)
        self._stage, self._beaten = Stage.WELCOMED, now
        self._heartbeat, self._chunk, self._most = said.heartbeat_ms / 1000, said.chunk_bytes, said.open_requests
        welcomed = Welcomed(
            version=said.version,
            software=one_line(said.software, LONGEST_SOFTWARE),
            chunk=said.chunk_bytes,
            heartbeat=self._heartbeat,
            run=said.run.id,
            settings=tuple(said.run.settings),
            fields=tuple(said.run.fields),
        )
        mine = clocks.milliseconds(self._wall + now)
        text = clocks.notice("this device's clock", mine, said.clock_ms, self.limits.skew)
        return [welcomed] if text is None else [welcomed, Notice(text=text)]

    def _frame(self, frame: pb.ServerFrame) -> list[ClientEffect]:
        match frame.WhichOneof("kind"):
            case "work":
                return self._work(frame.work)
            case "cancel":
                return self._cancel(check_id(frame.cancel.request_id), one_line(frame.cancel.reason))
            case "send":
                return self._send(check_id(frame.send.request_id), frame.send.offset)
            case "done":
                return self._done(check_id(frame.done.request_id))
            case "bundle":
                bundle = frame.bundle
                return [Bundled(payload=bundle.payload, signature=bundle.signature, key=bundle.key)]
            case "heartbeat":
                return []
            case "goodbye":
                return self._goodbye(frame.goodbye)
            case _:
                raise MalformedFrame("a second Welcome")

    def _work(self, work: pb.Work) -> list[ClientEffect]:
        request_id = check_id(work.request_id)
        check_head(work.head)
        check_body(work.size, work.sha256, 2**64)
        task = self._tasks.get(request_id)
        if task is None:
            if len(self._tasks) >= self._most:
                raise MalformedFrame(f"more than the {self._most} requests that it allows itself")
            task = self._tasks[request_id] = Task(request_id=request_id, size=work.size, sha256=b"")
        if task.phase is Phase.FETCHING and (text := self._no_room(task, work.size)):
            return self.refuse(request_id, text)
        return self._resume(task, work)

    def _no_room(self, task: Task, size: int) -> str:
        """Say why a body of this size is not taken for a request; nothing where it is."""
        if size > self.limits.body:
            return f"its body of {size} bytes is longer than the {self.limits.body} that this client takes."
        if (rest := self._rest(task)) < size:
            return f"of its body of {size} bytes {rest} have room here, of the {self.limits.held} for all requests."
        return ""

    def _rest(self, task: Task) -> int:
        """Return how many bytes may be held beside the other requests."""
        return self.limits.held - sum(other.bytes for other in self._tasks.values() if other is not task)

    def _resume(self, task: Task, work: pb.Work) -> list[ClientEffect]:
        """Go on with a request where it was, after its Work came for the first time or again."""
        task.work = work
        match task.phase:
            case Phase.ANSWERED if task.answer is not None:
                return self._offer(task, task.answer)
            case Phase.WORKING:
                return [self._have(task.request_id)]
            case Phase.FETCHING if task.request_id not in self._wanted:
                anew = (task.size, task.sha256) != (work.size, work.sha256)
                task.size, task.sha256 = work.size, work.sha256
                task.stored = 0 if anew else task.stored
                return self._fetch(task, work, anew)
            case _:
                return []

    def _fetch(self, task: Task, work: pb.Work, anew: bool) -> list[ClientEffect]:
        """Ask for what is missing of a body."""
        request_id = task.request_id
        if task.size == 0:
            return self._run(task, work)
        effects: list[ClientEffect] = []
        if anew:
            effects = [StartBody(request_id=request_id, size=task.size, sha256=task.sha256)]
        if task.stored == task.size:
            return [*effects, self._complete(task)]
        self._wanted.add(request_id)
        want = pb.Want(request_id=request_id, offset=task.stored)
        return [*effects, Send(frame=pb.ClientFrame(want=want))]

    def _take_chunk(self, part: wire.Part) -> list[ClientEffect]:
        request_id = part.request_id
        if request_id not in self._wanted:
            if request_id in self._cancelled:
                return []
            raise MalformedFrame("a Chunk of a request that was not asked for")
        task = self._tasks[request_id]
        check_chunk(part.offset, len(part.data), task.stored, task.size, self._chunk)
        task.stored += len(part.data)
        store = StoreBody(request_id=request_id, offset=part.offset, data=part.data)
        if task.stored < task.size:
            return [store]
        self._wanted.discard(request_id)
        return [store, self._complete(task)]

    def _complete(self, task: Task) -> BodyComplete:
        task.phase = Phase.CHECKING
        return BodyComplete(request_id=task.request_id, size=task.size, sha256=task.sha256)

    def _run(self, task: Task, work: pb.Work) -> list[ClientEffect]:
        task.phase = Phase.WORKING
        run = RunWork(request_id=task.request_id, head=work.head, size=work.size, answer_limit=work.answer_limit)
        return [self._have(task.request_id), run] if self._stage is Stage.WELCOMED else [run]

    def _offer(self, task: Task, answer: Answer) -> list[ClientEffect]:
        if task.request_id in self._offered:
            return []
        self._offered.add(task.request_id)
        offer = pb.Offer(request_id=task.request_id, head=answer.head, size=answer.size, sha256=answer.sha256)
        return [Send(frame=pb.ClientFrame(offer=offer))]

    def _send(self, request_id: str, offset: int) -> list[ClientEffect]:
        task = self._tasks.get(request_id)
        if task is None and request_id in self._cancelled:
            return []
        if task is None or task.answer is None or request_id not in self._offered:
            raise MalformedFrame("a Send for an answer that was not offered")
        if offset >= task.answer.size:
            raise MalformedFrame(f"a Send from byte {offset} of a body of {task.answer.size}")
        return [UploadFrom(request_id=request_id, offset=offset, chunk=self._chunk)]

    def _done(self, request_id: str) -> list[ClientEffect]:
        if (task := self._drop(request_id)) is None:
            return []
        if task.phase is Phase.ANSWERED:
            return [Forget(request_id=request_id)]
        return [CancelWork(request_id=request_id, reason="the coordinator no longer waits for it")]

    def _cancel(self, request_id: str, reason: str) -> list[ClientEffect]:
        return [CancelWork(request_id=request_id, reason=reason)] if self._drop(request_id) else []

    def _goodbye(self, said: pb.Goodbye) -> list[ClientEffect]:
        return [self._ended(said.code, one_line(said.text), goodbye.comes_back(said.code))]

    def _drop(self, request_id: str) -> Task | None:
        if request_id in self._wanted or request_id in self._offered:
            self._cancelled.append(request_id)
        self._wanted.discard(request_id)
        self._offered.discard(request_id)
        return self._tasks.pop(request_id, None)

    def _have(self, request_id: str) -> Send:
        return Send(frame=pb.ClientFrame(have=pb.Have(request_id=request_id)))

    def _refusal(self, request_id: str, text: str) -> Send:
        return Send(frame=pb.ClientFrame(refuse=pb.Refuse(request_id=request_id, text=one_line(text))))

    def _leave(self, code: pb.Code, text: str, come_back: bool) -> list[ClientEffect]:
        said = pb.ClientFrame(goodbye=pb.Goodbye(code=code, text=one_line(text)))
        return [Send(frame=said), self._ended(code, one_line(text), come_back)]

    def _ended(self, code: int, text: str, come_back: bool) -> Ended:
        if code == pb.SILENT and (self._wanted or self._offered):
            self._wish = max(self._wish // 2, SMALLEST_CHUNK)
        self._apart()
        return Ended(code=code, text=text, come_back=come_back)

    def _apart(self) -> None:
        self._stage = Stage.APART
        self._wanted.clear()
        self._offered.clear()
        self._cancelled.clear()


def _check_welcome(said: pb.Welcome, ours: frozenset[int]) -> None:
    if said.version not in ours:
        raise MalformedFrame(f"a Welcome of version {said.version}, which was not offered")
    if not 1000 <= said.heartbeat_ms <= 600_000:
        raise MalformedFrame(f"a Welcome with a heartbeat of {said.heartbeat_ms} ms")
    if not SMALLEST_CHUNK <= said.chunk_bytes <= LARGEST_CHUNK:
        raise MalformedFrame(f"a Welcome with chunks of {said.chunk_bytes} bytes")
    if not 1 <= said.open_requests <= MOST_HELD:
        raise MalformedFrame(f"a Welcome that allows {said.open_requests} requests")
    if not plain(said.run.id) or not fits(said.run.settings) or not fits(said.run.fields):
        raise MalformedFrame("a Welcome whose run's id, settings or fields are too long or cannot be read")
