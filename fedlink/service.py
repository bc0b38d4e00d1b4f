"""The gRPC service around the protocol's desk: streams in and out, bodies from memory, answers to disk.

Everything here runs in one event loop, and nothing waits but on streams and on the clock.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, Protocol, TypeAlias

from hansa.fedlink import link_pb2 as pb
from hansa.fedlink.certificates import Peer
from hansa.fedlink.connections import Bucket, Rate
from hansa.fedlink.door import Door, TurnedAway
from hansa.fedlink.errors import MalformedFrame
from hansa.fedlink.gate import Gate
from hansa.fedlink.grpc13 import grpc
from hansa.fedlink.guard import Guard
from hansa.fedlink.incoming import Incoming
from hansa.fedlink.outbox import Outbox
from hansa.fedlink.protocol import Desk, Session
from hansa.fedlink.protocol import effects as do
from hansa.fedlink.protocol.limits import check_id
from hansa.fedlink.protocol.wire import write_chunk
from hansa.fedlink.texts import one_line

GOODBYE = 5.0
"""Seconds that a stream has to take its last frames."""
FRAMES, EACH, FREE = Rate(burst=500, every=20), 16, 2**16
"""Frames that a client may send at once and every second, those that each request adds, and the bytes of a chunk from
which on it is none of them: who sends more is read more slowly."""
READ = 32
"""Bytes sent to a client for which one comes back that only says so."""
Key: TypeAlias = tuple[int, str]
"""A session's number and a request's id."""


@dataclass(eq=False)
class Stream:
    """What is to be written to a stream, how fast it is read, and the line that it is on."""

    address: str
    pace: Bucket
    outbox: Outbox = field(default_factory=Outbox)


class Content(Protocol):
    """A request's body, wherever its bytes are."""

    def pieces(self, start: int, longest: int) -> Iterator[memoryview]: ...


@dataclass(frozen=True, kw_only=True)
class Arrived:
    """An answer is here for good: its head, and its body in a file that is gone when it is closed."""

    name: str
    request_id: str
    head: bytes
    size: int
    file: IO[bytes]

    def close(self) -> None:
        self.file.close()


@dataclass(frozen=True, kw_only=True)
class Barred:
    """A client is let in no more, whether or not it is connected."""

    name: str
    text: str


Told: TypeAlias = Arrived | Barred | do.Failed | do.Delivered | do.Connected | do.Dropped | do.Notice


@dataclass(kw_only=True, eq=False)
class Service:
    """Carries out what the desk says. ``tell`` is called with all that the application has to know, and must not wait.

    ``clock`` is monotonic, ``wall`` gives seconds since 1970. ``spool`` is a folder on the coordinator's disk, where
    answers lie in files without a name while they arrive.
    """

    desk: Desk
    door: Door
    guard: Guard
    spool: Path
    tell: Callable[[Told], None]
    clock: Callable[[], float]
    wall: Callable[[], float]
    at_once: int = 2
    patience: float = 5.0
    pace: float = 2.0**20
    bodies: dict[str, Content] = field(default_factory=dict)
    _streams: dict[int, Stream] = field(default_factory=dict)
    _peers: dict[str, Peer] = field(default_factory=dict)
    _incoming: dict[str, Incoming] = field(default_factory=dict)
    _moving: dict[Key, asyncio.Task[None]] = field(default_factory=dict)
    _storing: set[asyncio.Task[None]] = field(default_factory=set)

    def __post_init__(self) -> None:
        self._down, self._up = (Gate(self.at_once, self.patience, self.pace) for _ in range(2))

    async def session(self, context: Any, address: str) -> None:
        """Serve one stream to its end."""
        try:
            peer = self.door.admit(context, self.wall())
            check_id(peer.name)
            if not self.guard.admit(address, peer.name, "session"):
                raise TurnedAway(pb.SHUTDOWN, f"{one_line(peer.name)!r} comes back too often: wait a minute.")
        except TurnedAway as turned:
            await self._turn_away(context, turned.code, str(turned))
            return
        except MalformedFrame as error:
            await self._turn_away(context, pb.REFUSED, f"the certificate's name is {error}: provision a shorter one.")
            return
        session, effects = self.desk.connect(peer.name, self.clock(), self.wall())
        self._streams[session.number] = stream = Stream(address, Bucket(FRAMES, self.clock()))
        self._peers[peer.name] = peer
        self.carry_out(effects)
        await self._carried(context, session, stream)

    async def _carried(self, context: Any, session: Session, stream: Stream) -> None:
        reader = asyncio.create_task(self._read(context, session, stream))
        writer = asyncio.create_task(self._write(context, stream))
        closing = asyncio.create_task(stream.outbox.over())
        try:
            await asyncio.wait({reader, writer, closing}, return_when=asyncio.FIRST_COMPLETED)
            if stream.outbox.closed:
                await asyncio.wait({writer}, timeout=GOODBYE)
        finally:
            for task in (reader, writer, closing):
                task.cancel()
            self.carry_out(session.closed(self.clock()))
            del self._streams[session.number]

    async def tend(self) -> None:
        """Look once a second for what is silent, revoked or over; runs until it is cancelled."""
        while True:
            await asyncio.sleep(1)
            self.carry_out(self.desk.tick(self.clock()))
            for name, peer in list(self._peers.items()):
                try:
                    self.door.check(peer, self.wall())
                except TurnedAway as turned:
                    self.carry_out(self.desk.end(name, turned.code, str(turned)))
                    if turned.code == pb.REVOKED:
                        del self._peers[name]
                        self.tell(Barred(name=name, text=str(turned)))

    def carry_out(self, effects: Iterable[do.ServerEffect]) -> None:
        """Do what the machine says, in order."""
        for effect in effects:
            match effect:
                case do.Send():
                    self._send(effect)
                case do.SendBody() | do.StopBody():
                    self._stop((effect.session, effect.request_id))
                    if isinstance(effect, do.SendBody):
                        self._start((effect.session, effect.request_id), self._download(effect))
                case do.Close():
                    self._streams[effect.session].outbox.close()
                case do.Begin():
                    self._begin(effect)
                case do.Completed():
                    self._completed(effect)
                case do.Store():
                    raise AssertionError("a chunk comes alone or before all else, see _stored")
                case do.Answered():
                    self._answered(effect)
                case _:
                    self._note(effect)

    def forget(self, request_id: str) -> None:
        """Drop what is kept of a request that is over."""
        self._stop_all(request_id)
        self.bodies.pop(request_id, None)
        self._discard(request_id)

    def close(self) -> None:
        """Throw away all answers that are not here as a whole."""
        for request_id in list(self._incoming):
            self._discard(request_id)

    def _begin(self, effect: do.Begin) -> None:
        self._discard(effect.request_id)
        try:
            self._incoming[effect.request_id] = Incoming(self.spool)
        except OSError as error:
            self._full(effect, error)

    def _discard(self, request_id: str) -> None:
        if (incoming := self._incoming.pop(request_id, None)) is not None:
            incoming.close()

    async def _turn_away(self, context: Any, code: pb.Code, text: str) -> None:
        goodbye = pb.ServerFrame(goodbye=pb.Goodbye(code=code, text=one_line(text)))
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(context.write(goodbye.SerializeToString()), GOODBYE)

    async def _read(self, context: Any, session: Session, stream: Stream) -> None:
        while (raw := await context.read()) is not grpc.aio.EOF and not stream.outbox.closed:
            self.guard.use(stream.address, len(raw))
            while len(raw) < FREE and (wait := stream.pace.take(self.clock())):
                await asyncio.sleep(wait)
            effects = session.receive(raw, self.clock())
            if effects and isinstance(effects[0], do.Store):
                await self._stored(effects[0], effects[1:])
            else:
                self.carry_out(effects)
            del raw, effects  # a chunk must not stay until the next frame comes, once for each of a thousand streams
            await stream.outbox.room()  # who sends but does not read is held up

    async def _stored(self, effect: do.Store, then: list[do.ServerEffect]) -> None:
        """Write a chunk in a thread, for it takes as long as receiving it; what follows is done in any case."""

        async def both() -> None:
            if (incoming := self._incoming.get(effect.request_id)) is not None:
                try:
                    await asyncio.to_thread(incoming.store, effect.offset, effect.data)
                except OSError as error:
                    self._full(effect, error)
            self.carry_out(then)

        storing = asyncio.create_task(both())
        self._storing.add(storing)
        storing.add_done_callback(self._storing.discard)
        await asyncio.shield(storing)

    async def _write(self, context: Any, stream: Stream) -> None:
        while (raw := await stream.outbox.next()) is not None:
            await context.write(raw)
            self.guard.use(stream.address, len(raw) / READ)
            del raw

    def _send(self, effect: do.Send) -> None:
        frame, raw = effect.frame, effect.frame.SerializeToString()
        stream, kind = self._streams[effect.session], frame.WhichOneof("kind")
        if kind == "send":
            key = (effect.session, frame.send.request_id)
            self._stop(key)
            self._start(key, self._upload(key, raw))
        else:
            stream.pace.give(EACH if kind == "work" else 0)
            stream.outbox.frame(raw)

    async def _download(self, effect: do.SendBody) -> None:
        moved, at = 0, effect.offset
        async with self._down.place(lambda: moved):
            for piece in self.bodies[effect.request_id].pieces(effect.offset, effect.chunk):
                if not await self._streams[effect.session].outbox.chunk(write_chunk(effect.request_id, at, piece)):
                    return
                at, moved = at + len(piece), moved + len(piece)

    async def _upload(self, key: Key, raw: bytes) -> None:
        """Ask for an answer's body when there is a place for it, and keep the place until it is here."""
        if (incoming := self._incoming.get(key[1])) is None:
            return  # there was no room for it
        async with self._up.place(lambda: incoming.moved):
            self._streams[key[0]].outbox.frame(raw)
            await asyncio.Event().wait()  # until Completed or Dropped cancels it

    def _start(self, key: Key, transfer: Any) -> None:
        task = self._moving[key] = asyncio.create_task(transfer)
        task.add_done_callback(lambda done: self._moving.pop(key) if self._moving.get(key) is done else None)

    def _stop(self, key: Key) -> None:
        if (task := self._moving.pop(key, None)) is not None:
            task.cancel()

    def _stop_all(self, request_id: str) -> None:
        for key in [key for key in self._moving if key[1] == request_id]:
            self._stop(key)

    def _full(self, effect: do.Begin | do.Store, error: OSError) -> None:
        if (request := self.desk.find(effect.name, effect.request_id)) is not None:
            text = f"the coordinator cannot store it in {self.spool}: {error.strerror}"
            self.carry_out(self.desk.fail(request, text))

    def _completed(self, effect: do.Completed) -> None:
        self._stop_all(effect.request_id)
        if (incoming := self._incoming.get(effect.request_id)) is None:
            return  # its last piece could not be stored
        whole = effect.size == 0 or incoming.whole(effect.sha256)
        check = self.desk.accepted if whole else self.desk.damaged
        self.carry_out(check(effect.request_id))

    def _answered(self, effect: do.Answered) -> None:
        file = self._incoming.pop(effect.request_id).file
        self.tell(
            Arrived(name=effect.name, request_id=effect.request_id, head=effect.head, size=effect.size, file=file)
        )

    def _note(self, effect: do.Failed | do.Delivered | do.Connected | do.Dropped | do.Notice) -> None:
        if isinstance(effect, do.Dropped):
            for key in [key for key in self._moving if key[0] == effect.session]:
                self._stop(key)
        if isinstance(effect, do.Failed):
            self.forget(effect.request_id)
        self.tell(effect)
