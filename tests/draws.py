"""Draws by hand: who is there, keys, and clients that answer when they are asked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from hansa.fedserver.policy import CohortPolicy
from hansa.fedserver.selection.selection import Draw, Seen
from hansa.strategies import Context, Released, Request
from hansa.strategies.pipeline import Names

NAMES = tuple(f"c{i:02d}" for i in range(12))


@dataclass
class Some:
    """A ``There`` of which some are away; it counts how often it is asked who is here."""

    names: Names = NAMES
    away: set[str] = field(default_factory=set)
    looks: int = 0

    @property
    def count(self) -> int | None:
        return None if self.away else len(self.names)

    def here(self, name: str) -> bool:
        self.looks += 1
        return name in self.names and name not in self.away

    def all(self) -> Names:
        return tuple(name for name in self.names if name not in self.away)

    def sample(self, ctx: Context, size: int | None) -> Names:
        here = self.all()
        return here if size is None or size >= len(here) else ctx.sample(here, size)


def drawing(there=None, round: int = 1, seen: Mapping[str, Seen] | None = None, **cohort) -> Draw:
    ctx = Context(round=round, public=b"p", own=b"o")
    return Draw(ctx=ctx, there=there or Some(), cohort=CohortPolicy(**cohort), seen=seen or {})


def drawn(selection, draw: Draw, memory=None, losses: Mapping[str, tuple[float, float]] | None = None):
    """Draw; clients answer with loss and examples. Return the cohort, the memory after it, and who was asked."""
    flow, asked, released = selection.draw(memory, draw), [], None
    try:
        while True:
            request: Request = flow.send(released)
            asked.append(request.to)
            released = answer(request, losses or {})
    except StopIteration as done:
        return *done.value, asked


def answer(request: Request, losses: Mapping[str, tuple[float, float]]) -> Released:
    """Return the rows of those who were asked and have an answer: mean loss and examples."""
    rows_N2 = np.array([losses.get(name, (0.0, 0.0)) for name in request.to], np.float64)
    there_N = np.array([name in losses for name in request.to])
    sums = {"loss": rows_N2[:, 0] * rows_N2[:, 1], "examples": rows_N2[:, 1]}
    return Released(sums=sums, count_G=there_N.astype(np.int64), names=tuple(n for n in request.to if n in losses))


def chi_squared(counts, expected: float) -> float:
    return float(sum((count - expected) ** 2 / expected for count in counts))
