"""A federation over Hansa's own link: clients that are connected, and those that have only just lost their line."""

from __future__ import annotations

import hashlib
import math
import queue
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from hansa.fedlink.errors import MalformedMessage, ProtocolError
from hansa.fedlink.incoming import DiskRow
from hansa.fedlink.messages import SETTLE, Call, Calls, Failure, Reply
from hansa.fedlink.packing import Body, pack_call, read_reply
from hansa.fedlink.protocol import Work
from hansa.fedlink.protocol.effects import Connected, Failed
from hansa.fedlink.server import Server
from hansa.fedlink.service import Arrived, Told
from hansa.fedserver.federation import CAME, Ended, hear
from hansa.fedserver.policy import Wait
from hansa.fedserver.presence import Presence
from hansa.fedserver.selection.there import Present, There
from hansa.fedserver.waiting import Vigil
from hansa.strategies.pipeline import Names

GLANCE = 0.5
"""Seconds between two looks at the clock while nothing comes."""


TOO_LATE = "the round goes on without this answer: it is too late."


class Open(NamedTuple):
    """What a client is asked, and until when it is waited for."""

    call: Call
    client: str
    until: float = math.inf


@dataclass(kw_only=True)
class LinkFederation:
    """A ``Federation``, and ``Standing``, of the clients of a server; ``answers`` is the length in bytes of each
    endpoint's row.

    Once a run has begun, it stands still while fewer than ``least`` clients are there.
    """

    server: Server
    answers: Mapping[str, int]
    clock: Callable[[], float]
    presence: Presence
    least: int = 1
    vigil: Vigil = field(init=False)
    _begun: bool = False
    _waiting: dict[str, Open] = field(default_factory=dict)
    """What is asked now, by the id of its request."""
    _standing: dict[str, Open] = field(default_factory=dict)
    """What was asked by ``start``, by the id of its request."""
    _ended: deque[Ended] = field(default_factory=deque)
    _came: bool = False
    """Whether a client was connected since ``next`` began."""
    _held: dict[str, tuple[Reply, Arrived]] = field(default_factory=dict)
    """Answers to what was asked by ``start``, by client, until they are collected."""
    _taken: list[Arrived] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.vigil = Vigil(clock=self.clock, say=self.presence.say, doing=self.presence.doing)

    def population(self) -> Names:
        if self._begun and len(here := self._here()) < self.least:
            self.presence.say(f"the run waits for clients: {len(here)} of at least {self.least} are connected")
            while len(self._here()) < self.least:
                self._next(GLANCE)
        return self._here()

    def gather(self, least: Callable[[], int], seconds: float) -> None:
        """Wait until so many clients are connected, or the time is over."""
        end = self.clock() + seconds
        while len(self._here()) < least() and self.clock() < end:
            self._next(GLANCE)
        self._begun = len(self._here()) >= self.least

    def rest(self, seconds: float) -> None:
        """Let time pass after a round that was lost, until more clients are there at the latest."""
        self.presence.say(f"the next round begins in {seconds:.0f} s, or when another client is there")
        before, end = len(self._here()), self.clock() + seconds
        while len(self._here()) <= before and (left := end - self.clock()) > 0:
            self._next(min(GLANCE, left))

    def _here(self) -> Names:
        while not self.server.events.empty():
            self._read(self.server.events.get())
        return self.presence.here()

    def around(self) -> There:
        return Present(self._here())

    def start(self, calls: Calls, deadline: float | None) -> None:
        until = math.inf if deadline is None else self.clock() + deadline
        for reply in self._submit(calls, self._standing, until):
            self._ended.append(Ended(reply.client, str(reply.failure)))

    def next(self) -> Ended | None:
        self._came = False
        self.vigil.begin("")
        while self._standing and not self._ended and not self._came:
            self._look(self._standing)
            self._next(max(0.0, min(GLANCE, min(one.until for one in self._standing.values()) - self.clock())))
            self._missing()
            self._overdue()
        self.vigil.end()
        if self._ended:
            return self._ended.popleft()
        return CAME if self._standing else None

    def collect(self, calls: Calls) -> Iterator[Reply]:
        for name in calls.names:
            reply, event = self._held.pop(name)
            self._taken.append(event)
            yield reply
            self._finish()

    def stop(self) -> None:
        for request_id in list(self._standing):
            self._cancel(request_id, TOO_LATE)
        self._taken.extend(event for _, event in self._held.values())
        self._held.clear()
        self._ended.clear()
        self._finish()

    def ask(self, calls: Mapping[str, Call], wait: Wait) -> Iterator[Reply]:
        wait.begin(calls, self.clock())
        self.vigil.begin(wait.kind)
        try:
            for reply in self._replies(calls, wait):
                hear(wait, reply, self.clock())
                yield reply
                self._finish()
            self.vigil.end()
        finally:
            for request_id in list(self._waiting):
                self._cancel(request_id, TOO_LATE)

    def _replies(self, calls: Mapping[str, Call], wait: Wait) -> Iterator[Reply]:
        """Send calls; yield what comes, failures, and who is given up because the policy waits no longer."""
        yield from self._submit(calls, self._waiting)
        while self._waiting:
            self._look(self._waiting)
            if (reply := self._next(max(0.0, min(GLANCE, wait.wake() - self.clock())))) is not None:
                yield reply
            else:
                yield from self._missing()
            if cut := wait.cut(self.clock()):
                yield from self._cut(cut)

    def _look(self, opened: Mapping[str, Open]) -> None:
        """Tell whom is waited for, where that takes long."""
        call = next(iter(opened.values())).call
        what = "the run's end" if call.endpoint == SETTLE else f"round {call.round}" if call.round else "a query"
        self.vigil.look(what, (one.client for one in opened.values()))

    def _cut(self, cut: Mapping[str, str]) -> Iterator[Reply]:
        """Cancel what these clients were asked, for the reason that each one has."""
        for request_id, one in [item for item in self._waiting.items() if item[1].client in cut]:
            yield _without(one.call, one.client, "Cancelled", cut[one.client])
            self._cancel(request_id, TOO_LATE)

    def _overdue(self) -> None:
        """Give up those whose time is over."""
        now = self.clock()
        for request_id, one in [item for item in self._standing.items() if item[1].until <= now]:
            self._ended.append(Ended(one.client, "late: no answer within cohort.deadline"))
            self._cancel(request_id, TOO_LATE)

    def _cancel(self, request_id: str, reason: str) -> None:
        """Take a request back; nobody waits for it any more."""
        self._close(request_id)
        self.server.cancel(request_id, reason)

    def _submit(self, calls: Mapping[str, Call], opened: dict[str, Open], until: float = math.inf) -> Iterator[Reply]:
        hashes: dict[tuple[int, int], bytes] = {}
        for client, call in calls.items():
            head, body = pack_call(call)
            shared = (id(call.payload), id(call.fitted))
            if shared not in hashes:
                hashes[shared] = _sha256(body)
            work = Work(
                request_id=_request_id(call, client),
                head=head,
                size=body.size,
                sha256=hashes[shared],
                answer_limit=self.answers.get(call.endpoint, 0),
            )
            opened[work.request_id] = Open(call, client, until)
            try:
                self.server.submit(client, work, body)
            except ProtocolError as error:
                self._close(work.request_id)
                yield _without(call, client, type(error).__name__, str(error))
            self.presence.now(client, "fetching")

    def _next(self, seconds: float) -> Reply | None:
        try:
            return self._read(self.server.events.get(timeout=seconds))
        except queue.Empty:
            return None

    def _read(self, event: Told) -> Reply | None:
        """Take in what happened; return the reply that it brought, if somebody waits for it."""
        match event:
            case Arrived():
                return self._arrived(event)
            case Failed():
                return self._failed(event.request_id, "Refused", event.text)
            case _:
                self._came |= isinstance(event, Connected)
                self.presence.note(event)
                return None

    def _arrived(self, event: Arrived) -> Reply | None:
        asked, standing = self._waiting.get(event.request_id), self._standing.get(event.request_id)
        if (one := asked or standing) is None:
            event.close()
            return None
        self._close(event.request_id)
        self.presence.now(event.name, "connected")
        reply = self._reply(event, one.call)
        if standing is None:
            self._taken.append(event)
            return reply
        self._held[event.name] = reply, event
        self._ended.append(Ended(event.name))
        return None

    def _reply(self, event: Arrived, call: Call) -> Reply:
        """Unwrap an answer; it speaks for the client whose certificate brought it, and for no other."""
        try:
            reply = read_reply(event.head, event.size, lambda dtype, size: DiskRow(event.file, dtype, size))
            if reply.client != event.name:
                raise MalformedMessage(
                    f"the device says that it is {reply.client!r}: its certificate says {event.name!r}"
                )
        except MalformedMessage as error:
            return _without(call, event.name, type(error).__name__, str(error))
        return reply

    def _finish(self) -> None:
        """Let clients forget the answers that were counted or refused."""
        while self._taken:
            event = self._taken.pop()
            event.close()
            self.server.finish(event.request_id)

    def _failed(self, request_id: str, kind: str, text: str) -> Reply | None:
        """Note that a request will have no answer; return a reply that says so to who asks now."""
        asked, standing = self._waiting.get(request_id), self._standing.get(request_id)
        self._close(request_id)
        if standing is not None:
            self._ended.append(Ended(standing.client, text))
        return None if asked is None else _without(asked.call, asked.client, kind, text)

    def _missing(self) -> list[Reply]:
        """Give up clients that are not let in any more, or have been gone for too long."""
        replies = []
        for request_id, one in [*self._waiting.items(), *self._standing.items()]:
            if self.presence.lost(one.client):
                why = self.presence.why(one.client)
                self.server.cancel(request_id, f"the round goes on without it: {why}")
                if (reply := self._failed(request_id, "Gone", why)) is not None:
                    replies.append(reply)
        return replies

    def _close(self, request_id: str) -> None:
        self._waiting.pop(request_id, None)
        self._standing.pop(request_id, None)


def _without(call: Call, client: str, kind: str, text: str) -> Reply:
    """Say that there is no answer to a call, because of what happened on its way."""
    return Reply.to(call, client, call.digest, failure=Failure(stage="link", kind=kind, text=text))


def _sha256(body: Body) -> bytes:
    """Return a body's hash; empty where it has no bytes."""
    found = hashlib.sha256()
    for piece in body.pieces(0, 2**20):
        found.update(piece)
    return found.digest() if body.size else b""


def _request_id(call: Call, client: str) -> str:
    """Name a piece of work for ever: by run, round, request, endpoint and client."""
    who = hashlib.sha256(client.encode()).hexdigest()[:16]
    return f"{call.run}/{call.round}.{call.request}/{call.endpoint}/{who}"
