"""A federation over Hansa's own link: clients that are connected, and those that have only just lost their line."""

from __future__ import annotations

import hashlib
import queue
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

from hansa.fedlink.errors import MalformedMessage, ProtocolError
from hansa.fedlink.incoming import DiskRow
from hansa.fedlink.messages import Call, Failure, Reply
from hansa.fedlink.packing import Body, pack_call, read_reply
from hansa.fedlink.protocol import Work
from hansa.fedlink.protocol.effects import Failed
from hansa.fedlink.server import Server
from hansa.fedlink.service import Arrived, Told
from hansa.fedserver.federation import hear
from hansa.fedserver.policy import Wait
from hansa.fedserver.presence import Presence
from hansa.strategies.pipeline import Names

GLANCE = 0.5
"""Seconds between two looks at the clock while nothing comes."""


@dataclass(kw_only=True)
class LinkFederation:
    """A ``Federation`` of the clients of a server; ``answers`` is the length in bytes of each endpoint's row.

    Once a run has begun, it stands still while fewer than ``least`` clients are there.
    """

    server: Server
    answers: Mapping[str, int]
    clock: Callable[[], float]
    presence: Presence
    least: int = 1
    _begun: bool = False
    _waiting: dict[str, Call] = field(default_factory=dict)
    _of: dict[str, str] = field(default_factory=dict)
    _taken: list[Arrived] = field(default_factory=list)

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

    def _here(self) -> Names:
        while not self.server.events.empty():
            self._read(self.server.events.get())
        return self.presence.here()

    def ask(self, calls: Mapping[str, Call], wait: Wait) -> Iterator[Reply]:
        wait.begin(calls, self.clock())
        try:
            for reply in self._replies(calls, wait):
                hear(wait, reply, self.clock())
                yield reply
                self._finish()
        finally:
            for request_id in list(self._waiting):
                self._close(request_id)
                self.server.cancel(request_id, "the round goes on without this answer: it is too late.")

    def _replies(self, calls: Mapping[str, Call], wait: Wait) -> Iterator[Reply]:
        """Send calls; yield what comes, failures, and who is given up because the policy waits no longer."""
        yield from self._submit(calls)
        while self._waiting:
            if (reply := self._next(max(0.0, min(GLANCE, wait.wake() - self.clock())))) is not None:
                yield reply
            else:
                yield from self._missing()
            if cut := wait.cut(self.clock()):
                yield from self._cancel(cut)

    def _cancel(self, cut: Mapping[str, str]) -> Iterator[Reply]:
        """Cancel what these clients were asked, for the reason that each one has."""
        for request_id, client in [item for item in self._of.items() if item[1] in cut]:
            self.server.cancel(request_id, "the round goes on without this answer: it is too late.")
            if (reply := self._failed(request_id, "Cancelled", cut[client])) is not None:
                yield reply

    def _submit(self, calls: Mapping[str, Call]) -> Iterator[Reply]:
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
            self._waiting[work.request_id], self._of[work.request_id] = call, client
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
                self.presence.note(event)
                return None

    def _arrived(self, event: Arrived) -> Reply | None:
        call = self._waiting.get(event.request_id)
        if call is None:
            event.close()
            return None
        self._close(event.request_id)
        self.presence.now(event.name, "connected")
        self._taken.append(event)
        try:
            return self._reply(event)
        except MalformedMessage as error:
            return _without(call, event.name, type(error).__name__, str(error))

    def _reply(self, event: Arrived) -> Reply:
        """Unwrap an answer; it speaks for the client whose certificate brought it, and for no other."""
        reply = read_reply(event.head, event.size, lambda dtype, size: DiskRow(event.file, dtype, size))
        if reply.client != event.name:
            raise MalformedMessage(f"the device says that it is {reply.client!r}: its certificate says {event.name!r}")
        return reply

    def _finish(self) -> None:
        """Let clients forget the answers that were counted or refused."""
        while self._taken:
            event = self._taken.pop()
            event.close()
            self.server.finish(event.request_id)

    def _failed(self, request_id: str, kind: str, text: str) -> Reply | None:
        call, client = self._waiting.get(request_id), self._of.get(request_id, "")
        self._close(request_id)
        return None if call is None else _without(call, client, kind, text)

    def _missing(self) -> Iterator[Reply]:
        """Give up clients that are not let in any more, or have been gone for too long."""
        for request_id, client in list(self._of.items()):
            if self.presence.lost(client):
                why = self.presence.why(client)
                self.server.cancel(request_id, f"the round goes on without it: {why}")
                if (reply := self._failed(request_id, "Gone", why)) is not None:
                    yield reply

    def _close(self, request_id: str) -> None:
        self._waiting.pop(request_id, None)
        self._of.pop(request_id, None)


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
