"""How long each kind of work usually takes at this device, and from when on it takes too long."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

TIMES, MORE = 3.0, 10.0
"""Work that takes more than so many times its usual time, and so many seconds, may be standing still."""
KINDS = 64
"""Kinds of work that are remembered."""


@dataclass(eq=False)
class Pace:
    """Running means, in seconds; what was never measured takes as long as it likes.

    >>> pace = Pace()
    >>> pace.note("train", 1.0), pace.note("train", 3.0)
    (None, None)
    >>> pace.longest("train"), pace.longest("evaluate")
    (16.0, inf)
    """

    _taken: dict[str, tuple[int, float]] = field(default_factory=dict)

    def note(self, kind: str, seconds: float) -> None:
        """Work of a kind took so long; an empty kind is none."""
        if not kind:
            return
        times, total = self._taken.pop(kind, (0, 0.0))
        self._taken[kind] = times + 1, total + seconds
        if len(self._taken) > KINDS:
            del self._taken[next(iter(self._taken))]

    def longest(self, kind: str) -> float:
        """Return the seconds after which work of a kind is no longer waited for."""
        times, total = self._taken.get(kind, (0, math.inf))
        return TIMES * total / times + MORE if times else math.inf
