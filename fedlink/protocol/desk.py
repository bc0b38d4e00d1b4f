"""The coordinator's side of the link, without I/O: what is open for whom, whoever is connected.

A ``Desk`` lives as long as the coordinator's process. Each connection of a client is a ``Session``. All methods return
effects, every one of which the shell carries out, in order; none blocks. Neither is for use from several threads at
once. ``now`` is a monotonic clock in seconds, ``wall`` are seconds since 1970.

After a restart of the process, submit all that is still open before the first ``connect``: a client that holds a
request which is not open is told to forget it.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from hansa.fedlink import link_pb2 as pb
from hansa.fedlink.errors import RequestRefused, TooManyRequests
from hansa.fedlink.protocol.effects import Answered, Failed, Send, ServerEffect
from hansa.fedlink.protocol.limits import (
    LARGEST_CONTROL,
    LONGEST_HEAD,
    MOST_WORDS,
    Limits,
    check_id,
    fits,
)
from hansa.fedlink.protocol.requests import Open, Phase, Work
from hansa.fedlink.protocol.session import Session
from hansa.fedlink.protocol.versions import VERSIONS
from hansa.fedlink.texts import LONGEST_ID, one_line, plain

ROUND = 3
"""Heartbeats in a usual round, within these bounds in seconds."""
QUICKEST, SLOWEST = 2.0, 15.0


@dataclass(kw_only=True)
class Desk:
    """All clients of a coordinator. ``run``, ``settings`` and ``fields`` are told to each client that connects."""

    software: str
    limits: Limits = field(default_factory=Limits)
    versions: frozenset[int] = VERSIONS
    run: str = ""
    settings: tuple[str, ...] = ()
    fields: tuple[str, ...] = ()
    _sessions: dict[str, Session] = field(default_factory=dict)
    _open: dict[str, Open] = field(default_factory=dict)
    _of: dict[str, dict[str, Open]] = field(default_factory=dict)
    """The same requests by client, in the order of submission."""
    _number: int = 0

    def __post_init__(self) -> None:
        if not fits(self.settings) or not fits(self.fields) or not plain(self.run):
            raise RequestRefused(
                f"the run {one_line(self.run)!r} has {len(self.settings)} settings and {len(self.fields)} fields: "
                f"Welcome has room for {MOST_WORDS} of each of {LONGEST_HEAD} bytes that can be read, and an id of "
                f"{LONGEST_ID}."
            )

    def connect(self, name: str, now: float, wall: float) -> tuple[Session, list[ServerEffect]]:
        """Begin a session of a client whose certificate was judged; an older session of the name is replaced.

        Raises MalformedFrame where the name is longer than 200 bytes or empty.
        """
        check_id(name)
        effects: list[ServerEffect] = []
        if (older := self._sessions.get(name)) is not None:
            effects = older.end(pb.REPLACED, f"a newer session of client {name!r} has begun.")
        self._number += 1
        session = Session(
            desk=self,
            name=name,
            number=self._number,
            heard=now,
            beaten=now,
            wall=wall - now,
            heartbeat=self.limits.heartbeat,
        )
        self._sessions[name] = session
        return session, effects

    def submit(self, name: str, work: Work) -> list[ServerEffect]:
        """Open a request for a client, connected or not. Doing so again while it is open changes nothing.

        Raises TooManyRequests where the client has as many as it may, and RequestRefused where a limit is exceeded or
        the id is that of another open request.
        """
        work.check(name)
        if (known := self._open.get(work.request_id)) is not None:
            if known.same(name, work):
                return []
            raise RequestRefused(f"the id {work.request_id!r} is that of other open work: choose ids that are unique.")
        if len(self.open(name)) >= self.limits.open_requests:
            raise TooManyRequests(
                f"client {name!r} has {self.limits.open_requests} open requests: finish or cancel one, then submit."
            )
        self._open[work.request_id] = request = Open.of(name, work)
        self._of.setdefault(name, {})[work.request_id] = request
        return self._tell(name, work.frame())

    def cancel(self, request_id: str, reason: str) -> list[ServerEffect]:
        """Take a request back, at any time before ``finish``; nothing more is heard of it."""
        if (request := self._open.get(request_id)) is None:
            return []
        self._remove(request)
        session = self._welcomed(request.name)
        return [] if session is None else session.cancel(request_id, one_line(reason))

    def accepted(self, request_id: str) -> list[ServerEffect]:
        """Say after Completed that the hash is right: the answer goes to the application."""
        request = self._open.get(request_id)
        if request is None or request.phase is not Phase.CHECKING or request.answer is None:
            return []
        request.phase = Phase.ANSWERED
        answer = request.answer
        told = Answered(
            name=request.name, request_id=request_id, head=answer.head, size=answer.size, sha256=answer.sha256
        )
        return [told]

    def damaged(self, request_id: str) -> list[ServerEffect]:
        """Say after Completed that the hash is wrong: the body is asked for anew, and in the end the request fails."""
        request = self._open.get(request_id)
        if request is None or request.phase is not Phase.CHECKING:
            return []
        request.discard()
        if request.refusal is not None:
            return self.fail(request, request.refusal)
        if request.damaged >= self.limits.damaged:
            return self.fail(request, f"its answer arrived damaged {request.damaged} times: look at the client's disk.")
        session = self._welcomed(request.name)
        return [] if session is None else session.ask_again(request)

    def finish(self, request_id: str) -> list[ServerEffect]:
        """Say that the answer is taken for good: the client may forget it. Doing so again changes nothing.

        Raises RequestRefused where the request is not answered yet.
        """
        if (request := self._open.get(request_id)) is None:
            return []
        if request.phase is not Phase.ANSWERED:
            raise RequestRefused(f"request {request_id!r} is not answered yet: cancel it, or wait for its answer.")
        self._remove(request)
        session = self._welcomed(request.name)
        return [] if session is None else session.done(request_id)

    def fail(self, request: Open, text: str) -> list[ServerEffect]:
        """End a request without an answer."""
        request_id = request.work.request_id
        return [Failed(name=request.name, request_id=request_id, text=text), *self.cancel(request_id, text)]

    def hand(self, name: str, bundle: pb.Bundle) -> list[ServerEffect]:
        """Hand signed bytes to a client if it is connected; raises RequestRefused where they are too long."""
        frame = pb.ServerFrame(bundle=bundle)
        if frame.ByteSize() > LARGEST_CONTROL:
            raise RequestRefused(f"a bundle for client {name!r} is longer than {LARGEST_CONTROL} bytes: shorten it.")
        return self._tell(name, frame)

    def end(self, name: str, code: pb.Code, text: str) -> list[ServerEffect]:
        """End the session of a client, if there is one: REVOKED, REFUSED, SHUTDOWN, CLOCK."""
        session = self._sessions.get(name)
        return [] if session is None else session.end(code, text)

    def shutdown(self, text: str) -> list[ServerEffect]:
        """End all sessions because the coordinator stops; what is open is the application's to submit again."""
        return [effect for session in list(self._sessions.values()) for effect in session.end(pb.SHUTDOWN, text)]

    def tick(self, now: float) -> list[ServerEffect]:
        """End silent sessions and send heartbeats; call it about once a second."""
        return [effect for session in list(self._sessions.values()) for effect in session.tick(now)]

    def pace(self, usual: float) -> None:
        """Let heartbeats of sessions that begin follow the seconds that a round usually takes; any thread may call."""
        self.limits = replace(self.limits, heartbeat=min(max(usual / ROUND, QUICKEST), SLOWEST))

    def silence(self, name: str, now: float) -> float:
        """Return for how many seconds nothing came of a client that should have been heard; any thread may call.

        It is 0 where a heartbeat is not overdue, and where the client is not connected.
        """
        session = self._sessions.get(name)
        return 0.0 if session is None else session.silence(now)

    def connected(self) -> tuple[str, ...]:
        """Return the names of the clients that are connected and welcome, sorted."""
        return tuple(sorted(name for name, session in self._sessions.items() if session.welcomed))

    def open(self, name: str) -> tuple[Open, ...]:
        """Return the open requests of a client, in the order in which they were submitted."""
        return tuple(self._of.get(name, {}).values())

    def find(self, name: str, request_id: str) -> Open | None:
        """Return a client's open request; those of others do not exist for it."""
        request = self._open.get(request_id)
        return request if request is not None and request.name == name else None

    def left(self, session: Session) -> None:
        """Forget a session that is over."""
        del self._sessions[session.name]

    def _remove(self, request: Open) -> None:
        del self._open[request.work.request_id]
        of = self._of[request.name]
        del of[request.work.request_id]
        if not of:
            del self._of[request.name]

    def _welcomed(self, name: str) -> Session | None:
        session = self._sessions.get(name)
        return session if session is not None and session.welcomed else None

    def _tell(self, name: str, frame: pb.ServerFrame) -> list[ServerEffect]:
        session = self._welcomed(name)
        return [] if session is None else [Send(session=session.number, frame=frame)]
