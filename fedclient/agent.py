"""The device: holds its line to the coordinator, fetches work, has it done, and brings the answers.

It is small on purpose: torch, numpy, Flower and Hydra are imported by the worker process only, which ends when there is
nothing to do.
"""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from typing import Any

from hansa.fedclient.outside import reason
from hansa.fedclient.place import Place
from hansa.fedclient.spool import Spool
from hansa.fedclient.workshop import WorkerDied, Workshop
from hansa.fedlink.dial import Line, diagnose
from hansa.fedlink.errors import LinkError, NotWanted
from hansa.fedlink.grpc13 import grpc
from hansa.fedlink.protocol import Backoff, Client
from hansa.fedlink.protocol import effects as do
from hansa.fedlink.protocol.wire import write_chunk

AGAIN = 3600.0
"""Seconds between two tries to renew a certificate."""


@dataclass(kw_only=True, eq=False)
class Agent:
    """One device. ``tell`` writes a line for a person; ``clock`` is monotonic, ``wall`` seconds since 1970.

    With ``once`` it ends after so many seconds without work, or when the coordinator says goodbye.
    """

    place: Place
    software: str
    tell: Callable[[str], None]
    clock: Callable[[], float]
    wall: Callable[[], float]
    chance: random.Random
    idle_after: float = 30.0
    once: float | None = None
    backoff: Backoff = field(default_factory=Backoff)
    _run: Sequence[str] = ()
    _fields: Sequence[str] = ()
    _line: Line | None = None
    _welcome: bool = False
    """Whether the coordinator has welcomed this device on the present connection."""
    _ended: do.Ended | None = None
    _busy: float = 0.0
    _tasks: dict[str, asyncio.Task[None]] = field(default_factory=dict)
    _uploads: dict[str, asyncio.Task[None]] = field(default_factory=dict)
    _working: str = ""
    _renewing: float = 0.0
    _leaving: bool = False

    def __post_init__(self) -> None:
        self._spool, self._shop = Spool(root=self.place.spool), Workshop(self.idle_after)
        self._client = Client(software=self.software, held=self._spool.held())

    async def live(self) -> None:
        """Stay connected until it is over: the coordinator wants nobody of this name, or ``once`` has passed."""
        self._busy, failures, told = self.clock(), 0, ""
        ticking = asyncio.create_task(self._tick())
        try:
            while True:
                await self._renew()
                why, welcomed = await self._connected()
                ended = self._ended
                if self._leaving or self._over():
                    return
                if ended is not None and not ended.come_back:
                    raise NotWanted(ended.text)
                failures = 1 if welcomed else failures + 1
                pause = self.backoff.pause(failures, self.chance.random())
                if why != told or welcomed:
                    self.tell(f"not connected: {why} Trying again, at least once a minute, for ever.")
                told = why
                await asyncio.sleep(pause)
        finally:
            ticking.cancel()
            for task in self._tasks.values():
                task.cancel()
            self._shop.close()

    def leave(self) -> None:
        """Say goodbye, and end; what is unfinished stays on disk."""
        self._leaving = True
        self._carry_out(self._client.stop("the device stops."))

    async def _connected(self) -> tuple[str, bool]:
        """Hold one connection; return why it ended, and whether the coordinator had welcomed this device."""
        self._ended, self._welcome = None, False
        trust = self.place.trust()
        line = self._line = Line(trust, self._receive)
        self._carry_out(self._client.start(self.clock(), self.wall()))
        try:
            await line.hold()
            why = "the coordinator ended the stream."
        except grpc.aio.AioRpcError as error:
            lost = f"the line broke ({error.details()})."
            why = lost if self._welcome else await asyncio.to_thread(diagnose, trust, self.wall())
        for upload in self._uploads.values():
            upload.cancel()
        self._carry_out(self._client.closed(self.clock()))
        self._spool.torn()
        self._line = None
        return self._ended.text if self._ended is not None and self._ended.code else why, self._welcome

    def _receive(self, raw: bytes) -> None:
        self._carry_out(self._client.receive(raw, self.clock()))

    def _carry_out(self, effects: list[do.ClientEffect]) -> None:
        for effect in effects:
            match effect:
                case do.Send():
                    if self._line is not None:
                        self._line.outbox.frame(effect.frame.SerializeToString())
                case do.StartBody() | do.StoreBody():
                    self._keep(effect)
                case do.BodyComplete():
                    whole = self._spool.whole(effect.request_id, effect.sha256)
                    self._carry_out((self._client.downloaded if whole else self._client.damaged)(effect.request_id))
                case do.RunWork():
                    self._start(self._tasks, effect.request_id, self._work(effect))
                case do.UploadFrom():
                    self._start(self._uploads, effect.request_id, self._upload(effect))
                case do.Forget() | do.CancelWork():
                    self._drop(effect)
                case do.Welcomed():
                    self._welcome, self._run, self._fields = True, effect.settings, effect.fields
                    self.tell(f"connected to {self.place.address} ({effect.software}), run {effect.run}")
                case do.Notice():
                    self.tell(effect.text)
                case do.Ended():
                    self._ended = effect
                    if self._line is not None:
                        self._line.outbox.close()

    def _keep(self, effect: do.StartBody | do.StoreBody) -> None:
        self._busy = self.clock()
        try:
            if isinstance(effect, do.StartBody):
                self._spool.start(effect.request_id, effect.size, effect.sha256)
            else:
                self._spool.store(effect.request_id, effect.offset, effect.data)
        except (OSError, LinkError) as error:
            self.tell(f"{_what(effect.request_id)} cannot be stored: {error}")
            self._carry_out(self._client.refuse(effect.request_id, f"the device cannot store it: {reason(error)}"))

    async def _work(self, effect: do.RunWork) -> None:
        start, request_id = self.clock(), effect.request_id
        try:
            folder = self._spool.order(request_id, effect.head)
            self._working = request_id
            failure = await self._shop.work(self.place.order(folder, self._run, self._fields))
            answer = self._spool.answer(request_id)
        except (OSError, LinkError, WorkerDied) as error:
            self.tell(f"{_what(request_id)} failed: {error}")
            self._carry_out(self._client.refuse(request_id, reason(error)))
            self._spool.drop(request_id)
            return
        finally:
            self._working, self._busy = "", self.clock()
        done = f"is done in {self.clock() - start:.2f} s, {answer.size} B to send"
        self.tell(f"{_what(request_id)} {f'failed: {failure}' if failure else done}")
        self._carry_out(self._client.answered(request_id, answer))

    async def _upload(self, effect: do.UploadFrom) -> None:
        line = self._line
        try:
            for at, piece in self._spool.pieces(effect.request_id, effect.offset, effect.chunk):
                if line is None or not await line.outbox.chunk(write_chunk(effect.request_id, at, piece)):
                    return
        except OSError as error:
            self.tell(f"{_what(effect.request_id)} cannot be sent, as its answer cannot be read: {error}")

    def _start(self, tasks: dict[str, asyncio.Task[None]], request_id: str, doing: Coroutine[Any, Any, None]) -> None:
        if (before := tasks.pop(request_id, None)) is not None:
            before.cancel()
        task = tasks[request_id] = asyncio.create_task(doing)
        task.add_done_callback(lambda done: tasks.pop(request_id) if tasks.get(request_id) is done else None)

    def _drop(self, effect: do.Forget | do.CancelWork) -> None:
        """Forget a request; where the worker is at it, it is ended, for work cannot be interrupted otherwise."""
        for tasks in (self._tasks, self._uploads):
            if (task := tasks.pop(effect.request_id, None)) is not None:
                task.cancel()
        if isinstance(effect, do.CancelWork):
            self.tell(f"{_what(effect.request_id)} is cancelled: {effect.reason}")
            if self._working == effect.request_id:
                self._shop.close()
        self._spool.drop(effect.request_id)

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(1)
            self._carry_out(self._client.tick(self.clock()))
            if self.place.due(self.wall()) and self.clock() >= self._renewing and self._line is not None:
                self._line.outbox.close()  # the next connection renews first
            if self._over():
                self.leave()

    def _over(self) -> bool:
        if self.once is None or self._client.holds():
            return False
        said_goodbye = self._ended is not None and self._ended.code != 0
        return said_goodbye or self.clock() - self._busy > self.once

    async def _renew(self) -> None:
        """Get a fresh certificate when a third of this one's life is left; the present one does until then."""
        if not self.place.due(self.wall()) or self.clock() < self._renewing:
            return
        self._renewing = self.clock() + AGAIN
        try:
            await self.place.renew(self.wall())
            self.tell(f"the certificate is renewed, until {self.place.until()}")
        except LinkError as error:
            self.tell(f"the certificate, good until {self.place.until()}, is not renewed: {error}")


def _what(request_id: str) -> str:
    """Name a request for a person: its round and endpoint."""
    parts = request_id.split("/")
    return f"{parts[2]} of round {parts[1].partition('.')[0]}" if len(parts) == 4 else request_id


def lines(wall: Callable[[], float], write: Callable[[str], None]) -> Callable[[str], None]:
    """Return what writes lines of JSON, each with its time."""
    return lambda text: write(json.dumps({"at": round(wall(), 3), "told": text}))
