"""A request as the client keeps it, in memory and in its spool."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto

from hansa.fedlink import link_pb2 as pb
from hansa.fedlink.protocol.requests import Answer


@dataclass(frozen=True, kw_only=True)
class Held:
    """What the spool has of one request: ``stored`` of its body's ``size`` bytes, and the answer if it is complete."""

    request_id: str
    size: int
    sha256: bytes
    stored: int
    answer: Answer | None = None


class Phase(Enum):
    """How far a request is at the client."""

    FETCHING = auto()
    """The body is not complete, or Work has not come since the process began."""
    CHECKING = auto()
    """All bytes are stored; the shell checks the hash."""
    WORKING = auto()
    ANSWERED = auto()


@dataclass(kw_only=True)
class Task:
    """A request that the client holds; ``work`` is None until the coordinator told of it in this process."""

    request_id: str
    size: int
    sha256: bytes
    stored: int = 0
    answer: Answer | None = None
    phase: Phase = Phase.FETCHING
    work: pb.Work | None = None
    damaged: int = 0

    @property
    def bytes(self) -> int:
        """How much room it takes, once all of its body is here."""
        return self.size + (0 if self.answer is None else self.answer.size)

    @classmethod
    def of(cls, held: Held) -> Task:
        task = cls(request_id=held.request_id, size=held.size, sha256=held.sha256, stored=min(held.stored, held.size))
        if held.answer is not None:
            task.answer, task.phase = held.answer, Phase.ANSWERED
        return task
