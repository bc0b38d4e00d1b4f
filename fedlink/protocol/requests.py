"""A request as the coordinator keeps it while it is open."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum, auto

from hansa.fedlink import link_pb2 as pb
from hansa.fedlink.errors import MalformedFrame, RequestRefused
from hansa.fedlink.protocol.limits import check_body, check_head, check_id


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What a client offers: a head, and the size and SHA-256 of a body (empty where size is 0)."""

    head: bytes
    size: int = 0
    sha256: bytes = b""


@dataclass(frozen=True, kw_only=True)
class Kept:
    """What is stored of an answer's body from an earlier process: ``stored`` of its ``size`` bytes."""

    size: int
    sha256: bytes
    stored: int


@dataclass(frozen=True, kw_only=True)
class Work:
    """One piece of work for one client. Its id names it for ever.

    ``size`` and ``sha256`` are of the body, which the shell holds. ``kept`` is what an earlier process of the
    coordinator stored of the answer.
    """

    request_id: str
    head: bytes = b""
    size: int = 0
    sha256: bytes = b""
    answer_limit: int = 2**36
    kept: Kept | None = None

    def check(self, name: str) -> None:
        """Raise RequestRefused where the protocol cannot carry it."""
        try:
            check_id(self.request_id)
            check_head(self.head)
            check_body(self.size, self.sha256, 2**62)
        except MalformedFrame as error:
            raise RequestRefused(f"work for client {name!r} cannot be sent: {error}: make it smaller.") from None
        if not 0 <= self.answer_limit <= 2**62 or (self.kept and not 0 <= self.kept.stored <= self.kept.size):
            raise RequestRefused(f"work {self.request_id!r} for client {name!r} has a negative or impossible size.")

    def frame(self) -> pb.ServerFrame:
        """Return the frame that tells the client of it."""
        return pb.ServerFrame(
            work=pb.Work(
                request_id=self.request_id,
                head=self.head,
                size=self.size,
                sha256=self.sha256,
                answer_limit=self.answer_limit,
            )
        )


class Phase(Enum):
    """How far an open request is."""

    WAITING = auto()
    """For an answer, or for the rest of its body."""
    CHECKING = auto()
    """All bytes are stored; the shell checks the hash."""
    ANSWERED = auto()
    """The application has the answer, and has yet to take it for good."""


@dataclass(kw_only=True)
class Open:
    """An open request: ``answer`` is the one whose body is being stored, ``stored`` how many bytes of it are."""

    name: str
    work: Work
    answer: Answer | None = None
    stored: int = 0
    phase: Phase = Phase.WAITING
    damaged: int = 0
    refusal: str | None = None
    """The client's refusal, where it came while an answer of it was being checked."""

    @classmethod
    def of(cls, name: str, work: Work) -> Open:
        if work.kept is None:
            return cls(name=name, work=work)
        answer = Answer(head=b"", size=work.kept.size, sha256=work.kept.sha256)
        return cls(name=name, work=replace(work, kept=None), answer=answer, stored=work.kept.stored)

    def same(self, name: str, work: Work) -> bool:
        """Tell whether a submission repeats this one."""
        return self.name == name and self.work == replace(work, kept=None)

    def take(self, offer: Answer) -> bool:
        """Make an offered answer the one to store; tell whether its body begins anew."""
        before, self.answer = self.answer, offer
        if before is not None and (before.size, before.sha256) == (offer.size, offer.sha256):
            return False
        self.stored = 0
        return True

    def discard(self) -> None:
        """Forget an answer whose body is damaged."""
        self.answer, self.stored, self.phase = None, 0, Phase.WAITING
        self.damaged += 1
