"""The device: holds its line to the coordinator, fetches work, has it done, and brings the answers.

It is small on purpose: torch, numpy, Flower and Hydra are imported by the worker process only, which ends when there is
nothing to do.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
from collections.abc import Callable, Coroutine, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from hansa.fedclient.errors import BeyondLimits
from hansa.fedclient.limits import SiteLimits
from hansa.fedclient.outside import reason
from hansa.fedclient.place import Place
from hansa.fedclient.shelf import Shelf
from hansa.fedclient.spool import Spool
from hansa.fedclient.workshop import WorkFailed, Workshop
from hansa.fedlink.dial import Line, diagnose
from hansa.fedlink.errors import LinkError, NotWanted, ProtocolError, Unreachable
from hansa.fedlink.protocol import Client, Limits, pause
from hansa.fedlink.protocol import effects as do
from hansa.fedlink.protocol.wire import write_chunk
from hansa.fedlink.quota import Quota
from hansa.fedlink.texts import one_line

AGAIN = 3600.0
"""Seconds between two tries to renew a certificate."""
Requested: TypeAlias = (
    do.StartBody | do.StoreBody | do.BodyComplete | do.RunWork | do.UploadFrom | do.Forget | do.CancelWork
)
Tasks: TypeAlias = dict[str, asyncio.Task[None]]


@dataclass(kw_only=True, eq=False)
class Agent:
    """One device. ``tell`` writes a line for a person; ``clock`` is monotonic, ``wall`` seconds since 1970.

    With ``once`` it ends after so many seconds without work, or when the coordinator says goodbye. No error ends it:
    one of a request ends that request, one of the line ends the line, and the rest is tried again; each is told.
    """

    place: Place
    software: str
    tell: Callable[[str], None]
    clock: Callable[[], float]
    wall: Callable[[], float]
    chance: random.Random
    idle_after: float = 30.0
    once: float | None = None
    _run: Sequence[str] = ()
    _fields: Sequence[str] = ()
    _line: Line | None = None
    _welcome: bool = False
    """Whether the coordinator has welcomed this device on the present connection."""
    _ended: do.Ended | None = None
    _busy: float = 0.0
    _tasks: Tasks = field(default_factory=dict)
    _uploads: Tasks = field(default_factory=dict)
    _troubles: dict[str, str] = field(default_factory=dict)
    """What goes wrong at present, as it was told."""
    _renewing: float = 0.0
    _leaving: bool = False
    _quota: Quota = field(default_factory=Quota)

    def __post_init__(self) -> None:
        self._spool, self._site = Spool(root=self.place.spool), SiteLimits.read(self.place.home)
        self._shop = Workshop(self.place.bench, self.idle_after, self.clock, self._say)
        limits = Limits(body=self._site.body, answer=self._site.body, held=self._site.spool)
        self._client = Client(software=self.software, held=self._spool.held(), limits=limits)

    async def live(self) -> None:
        """Stay connected until it is over: the coordinator wants nobody of this name, or ``once`` has passed."""
        self._busy = lost = self.clock()
        told, ticking = "", asyncio.create_task(self._tick())
        try:
            while True:
                with self._going_on("renewing the certificate"):
                    await self._renew()
                why = await self._connected()
                ended, now = self._ended, self.clock()
                if self._leaving or self._over():
                    return
                if ended is not None and not ended.come_back:
                    raise NotWanted(ended.text)
                lost, why = now if self._welcome else lost, why or await self._diagnosed()
                if why != told or self._welcome:
                    self._told_of("line", f"not connected: {why} Trying again, at least once a minute, for ever.")
                told = why
                await asyncio.sleep(now + pause(now - lost, self.chance.random()) - self.clock())
        finally:
            ticking.cancel()
            for task in (*self._tasks.values(), *self._uploads.values()):
                task.cancel()
            await self._shop.closed()

    def leave(self) -> None:
        """Say goodbye, and end; what is unfinished stays on disk."""
        self._leaving = True
        self._carry_out(self._client.stop("the device stops."))

    async def _connected(self) -> str:
        """Hold one connection; return why it ended, or nothing where the line broke before the welcome."""
        self._ended, self._welcome, why = None, False, "the coordinator ended the stream."
        try:
            self._line = Line(self.place.trust(), self._receive)
            self._carry_out(self._client.start(self.clock(), self.wall()))
            await self._line.hold()
        except Unreachable as error:
            why = str(error) if self._welcome else ""
        except Exception as error:  # noqa: BLE001 - told, and the next connection may go well
            why = _told(error)
        for upload in self._uploads.values():
            upload.cancel()
        self._carry_out(self._client.closed(self.clock()))
        self._spool.torn()
        self._line = None
        return self._ended.text if self._ended is not None and self._ended.code else why

    async def _diagnosed(self) -> str:
        try:
            return await asyncio.to_thread(diagnose, self.place.trust(), self.wall())
        except Exception as error:  # noqa: BLE001 - only to be told
            return _told(error)

    def _receive(self, raw: bytes) -> None:
        self._carry_out(self._client.receive(raw, self.clock()))

    def _carry_out(self, effects: list[do.ClientEffect]) -> None:
        for effect in effects:
            match effect:
                case do.Send():
                    if self._line is not None:
                        self._line.outbox.frame(effect.frame.SerializeToString())
                case do.Welcomed():
                    self._welcome, self._run, self._fields = True, effect.settings, effect.fields
                    self._told_of("line", f"connected to {self.place.address} ({effect.software}), run {effect.run}")
                    self._sweep(effect.run)
                case do.Notice():
                    self._told_of("line", effect.text)
                case do.Ended():
                    self._ended = effect
                    if self._line is not None:
                        self._line.outbox.close()
                case do.Forget() | do.CancelWork():
                    if isinstance(effect, do.CancelWork):
                        self._told_of("request", f"{_what(effect.request_id)} is cancelled: {effect.reason}")
                    self._drop(effect.request_id)
                case do.Bundled():
                    pass
                case _ if effect.request_id in self._client.holds():  # an earlier effect may have ended it
                    self._do(effect)

    def _sweep(self, run: str) -> None:
        """Let go of what the client keeps of runs that are too old."""
        shelf = Shelf(root=self.place.state, most=self._site.states, days=self._site.state_days)
        try:
            shelf.sweep(run, self.wall())
        except (OSError, BeyondLimits) as error:
            self._say(f"states: {_told(error)}")

    def _do(self, effect: Requested) -> None:
        """Carry out what is to be done for one request; where it fails, this request ends and nothing else."""
        try:
            match effect:
                case do.StartBody():
                    self._spool.start(effect.request_id, effect.size, effect.sha256)
                case do.StoreBody():
                    self._busy = self.clock()
                    self._spool.store(effect.request_id, effect.offset, effect.data)
                case do.BodyComplete():
                    self._start(self._tasks, self._check, effect)
                case do.RunWork():
                    self._start(self._tasks, self._work, effect)
                case do.UploadFrom():
                    self._start(self._uploads, self._upload, effect)
        except Exception as error:  # noqa: BLE001 - a full disk, or anything else
            self._give_up(effect.request_id, error)

    async def _check(self, effect: do.BodyComplete) -> None:
        """Judge a body; hashing takes seconds where it is large, in which the line must not stand still."""
        whole = await asyncio.to_thread(self._spool.whole, effect.request_id, effect.sha256)
        self._carry_out((self._client.downloaded if whole else self._client.damaged)(effect.request_id))

    async def _work(self, effect: do.RunWork) -> None:
        start, request_id, what = self.clock(), effect.request_id, _what(effect.request_id)
        folder = self._spool.order(request_id, effect.head)
        order = self.place.order(folder, self._run, self._fields) | {"limits": self._site.order()}
        failure = await self._shop.work(order, what, _kind(request_id))
        answer = self._spool.answer(request_id)
        done = f"is done in {self.clock() - start:.2f} s, {answer.size} B to send"
        self._say(f"{what} {f'failed: {failure}' if failure else done}")
        self._carry_out(self._client.answered(request_id, answer))

    async def _upload(self, effect: do.UploadFrom) -> None:
        line = self._line
        for at, piece in self._spool.pieces(effect.request_id, effect.offset, effect.chunk):
            if line is None or not await line.outbox.chunk(write_chunk(effect.request_id, at, piece)):
                return

    def _start(self, tasks: Tasks, doing: Callable[[Any], Coroutine[Any, Any, None]], effect: Requested) -> None:
        request_id = effect.request_id
        _cancel(tasks.pop(request_id, None))
        task = tasks[request_id] = asyncio.create_task(self._guarded(doing, effect))
        task.add_done_callback(lambda done: tasks.pop(request_id) if tasks.get(request_id) is done else None)

    async def _guarded(self, doing: Callable[[Any], Coroutine[Any, Any, None]], effect: Requested) -> None:
        """Do something for a request; where it fails, this request ends and nothing else."""
        try:
            await doing(effect)
        except Exception as error:  # noqa: BLE001 - whatever it is, the device stays
            self._give_up(effect.request_id, error)
        finally:
            self._busy = self.clock()
            if effect.request_id not in self._client.holds():
                self._spool.drop(effect.request_id)  # a worker may have written to it until now

    def _give_up(self, request_id: str, error: Exception) -> None:
        """Refuse a request; of an error that may quote data the coordinator learns the type."""
        self._told_of("request", f"{_what(request_id)} failed: {_told(error)}")
        ours = isinstance(error, WorkFailed | ProtocolError)
        text = str(error) if ours else f"the device cannot do it: {reason(error)}"
        refusal = [effect for effect in self._client.refuse(request_id, text) if isinstance(effect, do.Send)]
        self._drop(request_id)
        self._carry_out([*refusal])

    def _drop(self, request_id: str) -> None:
        """Forget a request; a worker that is at it ends with its task."""
        _cancel(self._tasks.pop(request_id, None))
        _cancel(self._uploads.pop(request_id, None))
        self._spool.drop(request_id)

    def _told_of(self, what: str, text: str) -> None:
        """Tell what a coordinator can cause as often as it likes: few lines of each kind."""
        if (line := self._quota.line(what, text, self.clock())) is not None:
            self._say(line)

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(1)
            with self._going_on("looking after the line"):
                self._carry_out(self._client.tick(self.clock()))
                if self._over():
                    self.leave()
            with self._going_on("looking at the certificate"):
                if self._due() and self._line is not None:
                    self._line.outbox.close()  # the next connection renews first

    def _over(self) -> bool:
        if self.once is None or self._client.holds():
            return False
        said_goodbye = self._ended is not None and self._ended.code != 0
        return said_goodbye or self.clock() - self._busy > self.once

    def _due(self) -> bool:
        return self.clock() >= self._renewing and self.place.due(self.wall())

    async def _renew(self) -> None:
        """Get a fresh certificate when a third of this one's life is left; the present one does until then."""
        if not self._due():
            return
        self._renewing = self.clock() + AGAIN
        try:
            await self.place.renew(self.wall())
            self._say(f"the certificate is renewed, until {self.place.until()}")
        except LinkError as error:
            self._say(f"the certificate, good until {self.place.until()}, is not renewed: {error}")

    @contextlib.contextmanager
    def _going_on(self, doing: str) -> Iterator[None]:
        """Go on after any error in what is inside; it is told once for as long as it stays the same."""
        try:
            yield
        except Exception as error:  # noqa: BLE001 - whatever it is, the device stays
            if self._troubles.get(doing) != (text := _told(error)):
                self._say(f"{doing} failed, and is tried again: {text}")
            self._troubles[doing] = text
        else:
            self._troubles.pop(doing, None)

    def _say(self, text: str) -> None:
        with contextlib.suppress(OSError, ValueError):  # a log that is full or closed ends no device
            self.tell(text)


def _cancel(task: asyncio.Task[None] | None) -> None:
    """End a task, unless it is the one that asks for it: that ends by itself."""
    if task is not None and task is not asyncio.current_task():
        task.cancel()


def _told(error: Exception) -> str:
    """Say what an error is, for this device's own log; Hansa's own say all in their text."""
    if isinstance(error, LinkError | WorkFailed):
        return str(error)
    return one_line(f"{type(error).__name__}: {error}")


def _what(request_id: str) -> str:
    """Name a request for a person: its round and endpoint."""
    parts = one_line(request_id).split("/")
    return f"{parts[2]} of round {parts[1].partition('.')[0]}" if len(parts) == 4 else one_line(request_id)


def _kind(request_id: str) -> str:
    """Return what a request has in common with others that take as long: its run and endpoint; empty where unknown."""
    parts = request_id.split("/")
    return f"{parts[0]}/{parts[2]}" if len(parts) == 4 else ""


def lines(wall: Callable[[], float], write: Callable[[str], None]) -> Callable[[str], None]:
    """Return what writes lines of JSON, each with its time."""
    return lambda text: write(json.dumps({"at": round(wall(), 3), "told": text}))
