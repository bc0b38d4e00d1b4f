"""The device: holds its line to the coordinator, fetches work, has it done, and brings the answers.

It is small on purpose: torch, numpy, Flower and Hydra are imported by the worker process only, which ends when there is
nothing to do.
"""

from __future__ import annotations

import asyncio
import json
import random
import secrets
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from typing import Any

from hansa.fedclient.limits import SiteLimits
from hansa.fedclient.outside import reason
from hansa.fedclient.place import Place
from hansa.fedclient.spool import Spool
from hansa.fedclient.workshop import WorkerDied, Workshop
from hansa.fedlink.dial import Line, details, diagnose
from hansa.fedlink.errors import LinkError, NotWanted
from hansa.fedlink.grpc13 import grpc
from hansa.fedlink.protocol import Backoff, Client, Limits
from hansa.fedlink.protocol import effects as do
from hansa.fedlink.protocol.wire import write_chunk
from hansa.fedlink.quota import Quota
from hansa.fedlink.texts import one_line

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
    _key: str = field(default_factory=lambda: secrets.token_hex(32), repr=False)
    """This device's secret randomness: the same for each of its workers, so that work done once more has its bits."""
    _renewing: float = 0.0
    _leaving: bool = False
    _quota: Quota = field(default_factory=Quota)

    def __post_init__(self) -> None:
        self._spool, self._shop = Spool(root=self.place.spool), Workshop(self.place.home, self.idle_after)
        self._site = SiteLimits.read(self.place.home)
        self._client = Client(software=self.software, held=self._spool.held(), limits=Limits(body=self._site.body))

    async def live(self) -> None:
        """Stay connected until it is over: the coordinator wants nobody of this name, or ``once`` has passed."""
        self._busy, lost, told = self.clock(), self.clock(), ""
        ticking = asyncio.create_task(self._tick())
        try:
            while True:
                why, welcomed = await self._tried()
                ended = self._ended
                if self._leaving or self._over():
                    return
                if ended is not None and not ended.come_back:
                    raise NotWanted(ended.text)
                lost = self.clock() if welcomed else lost
                pause = self.backoff.pause(self.clock() - lost, self.chance.random())
                if why != told or welcomed:
                    self._told_of("line", f"not connected: {why} Trying again, at least once a minute, for ever.")
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

    async def _tried(self) -> tuple[str, bool]:
        """Hold one connection, and take whatever goes wrong with it for its end: the device stays."""
        self._ended, self._welcome = None, False
        try:
            await self._renew()
            return await self._connected()
        except Exception as error:  # noqa: BLE001 - a device ends by its owner, a goodbye or its revocation only
            return _told(error), self._welcome
        finally:
            self._apart()

    def _apart(self) -> None:
        """There is no line any more: what is held stays for the next one."""
        for upload in self._uploads.values():
            upload.cancel()
        self._carry_out(self._client.closed(self.clock()))
        self._spool.torn()
        self._line = None

    async def _connected(self) -> tuple[str, bool]:
        """Hold one connection; return why it ended, and whether the coordinator had welcomed this device."""
        trust = self.place.trust()
        line = self._line = Line(trust, self._receive)
        self._carry_out(self._client.start(self.clock(), self.wall()))
        try:
            await line.hold()
            why = "the coordinator ended the stream."
        except grpc.aio.AioRpcError as error:
            lost = f"the line broke ({details(error)})."
            why = lost if self._welcome else await asyncio.to_thread(diagnose, trust, self.wall())
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
                    self._check(effect)
                case do.RunWork():
                    self._start(self._tasks, effect.request_id, self._work(effect))
                case do.UploadFrom():
                    self._start(self._uploads, effect.request_id, self._upload(effect))
                case do.Forget() | do.CancelWork():
                    self._drop(effect)
                case do.Welcomed():
                    self._welcome, self._run, self._fields = True, effect.settings, effect.fields
                    self._told_of("line", f"connected to {self.place.address} ({effect.software}), run {effect.run}")
                case do.Notice():
                    self._told_of("line", effect.text)
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
            self._told_of("request", f"{_what(effect.request_id)} cannot be stored: {error}")
            self._carry_out(self._client.refuse(effect.request_id, f"the device cannot store it: {reason(error)}"))

    def _check(self, effect: do.BodyComplete) -> None:
        """See whether a body is whole; where it cannot be read, as its last piece could not be stored, it is not."""
        try:
            whole = self._spool.whole(effect.request_id, effect.sha256)
        except OSError as error:
            self.tell(f"{_what(effect.request_id)} cannot be read: {error}")
            self._carry_out(self._client.refuse(effect.request_id, f"the device cannot read it: {reason(error)}"))
            return
        self._carry_out((self._client.downloaded if whole else self._client.damaged)(effect.request_id))

    async def _work(self, effect: do.RunWork) -> None:
        start, request_id = self.clock(), effect.request_id
        try:
            folder = self._spool.order(request_id, effect.head)
            order = self.place.order(folder, self._run, self._fields)
            order |= {"key": self._key, "limits": self._site.order()}
            failure = await self._shop.work(order, lambda text: self.tell(f"{_what(request_id)}: {text}"))
            answer = self._spool.answer(request_id)
            done = f"is done in {self.clock() - start:.2f} s, {answer.size} B to send"
            self.tell(f"{_what(request_id)} {f'failed: {failure}' if failure else done}")
            self._carry_out(self._client.answered(request_id, answer))
        except Exception as error:  # noqa: BLE001 - it ends this request, not the device
            self._told_of("request", f"{_what(request_id)} failed: {_told(error)}")
            self._carry_out(self._client.refuse(request_id, reason(error)))
            self._spool.drop(request_id)
        finally:
            self._busy = self.clock()

    async def _upload(self, effect: do.UploadFrom) -> None:
        line = self._line
        try:
            for at, piece in self._spool.pieces(effect.request_id, effect.offset, effect.chunk):
                if line is None or not await line.outbox.chunk(write_chunk(effect.request_id, at, piece)):
                    return
        except Exception as error:  # noqa: BLE001 - it is offered again after the next connect
            self.tell(f"{_what(effect.request_id)} cannot be sent: {_told(error)}")

    def _start(self, tasks: dict[str, asyncio.Task[None]], request_id: str, doing: Coroutine[Any, Any, None]) -> None:
        if (before := tasks.pop(request_id, None)) is not None:
            before.cancel()
        task = tasks[request_id] = asyncio.create_task(doing)
        task.add_done_callback(lambda done: tasks.pop(request_id) if tasks.get(request_id) is done else None)

    def _drop(self, effect: do.Forget | do.CancelWork) -> None:
        """Forget a request, and stop what is done for it."""
        for tasks in (self._tasks, self._uploads):
            if (task := tasks.pop(effect.request_id, None)) is not None:
                task.cancel()
        if isinstance(effect, do.CancelWork):
            self._told_of("request", f"{_what(effect.request_id)} is cancelled: {effect.reason}")
        self._spool.drop(effect.request_id)

    def _told_of(self, what: str, text: str) -> None:
        """Tell what a coordinator can cause as often as it likes: few lines of each kind."""
        if (line := self._quota.line(what, text, self.clock())) is not None:
            self.tell(line)

    async def _tick(self) -> None:
        """Look once a second what is due; what goes wrong is told when it is new, and the next look comes."""
        told = ""
        while True:
            await asyncio.sleep(1)
            try:
                self._look()
                wrong = ""
            except Exception as error:  # noqa: BLE001 - a certificate that cannot be read now can be in a second
                wrong = _told(error)
            if wrong not in ("", told):
                self.tell(wrong)
            told = wrong

    def _look(self) -> None:
        self._carry_out(self._client.tick(self.clock()))
        if self._over():
            self.leave()
        elif self._line is not None and self.clock() >= self._renewing and self.place.due(self.wall()):
            self._line.outbox.close()  # the next connection renews first

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


def _told(error: Exception) -> str:
    """Write an error for the device's log; those of Hansa's own say all that is needed."""
    text = one_line(str(error))
    return text if isinstance(error, (LinkError, WorkerDied)) else f"{type(error).__name__}: {text or 'no message'}."


def _what(request_id: str) -> str:
    """Name a request for a person: its round and endpoint."""
    parts = request_id.split("/")
    return f"{parts[2]} of round {parts[1].partition('.')[0]}" if len(parts) == 4 else request_id


def lines(wall: Callable[[], float], write: Callable[[str], None]) -> Callable[[str], None]:
    """Return what writes lines of JSON, each with its time."""
    return lambda text: write(json.dumps({"at": round(wall(), 3), "told": text}))
