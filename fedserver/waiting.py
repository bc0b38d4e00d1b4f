"""What follows from how long things take: telling whom a run waits for, and patience with those who are gone."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field

from hansa.fedserver.policy import FLOOR, TIMES, WEIGHT

FIRST, GROWTH = 10.0, 2.0
"""Seconds after which it is told for the first time whom a request waits for, and how much later the next time is."""
SHOWN = 3
"""Clients that are named."""
SHORTEST, LONGEST = 10.0, 120.0
"""Seconds that a client may be gone and still count; the longest where nothing was measured."""


def whom(names: Collection[str], doing: Callable[[str], str]) -> str:
    """Name whom is waited for, with what each does.

    >>> whom(["riga", "bergen"], {"riga": "", "bergen": "gone 4 s"}.__getitem__)
    'bergen (gone 4 s), riga'
    """
    told = [f"{name} ({does})" if (does := doing(name)) else name for name in sorted(names)[:SHOWN]]
    return ", ".join(told) + (f" and {len(names) - SHOWN} more" if len(names) > SHOWN else "")


def patience(usual: float) -> float:
    """Return for how many seconds a client may be gone, where a round usually takes so many.

    >>> [patience(usual) for usual in (0.1, 20, 3600)]
    [10.3, 70.0, 120.0]
    """
    return min(max(TIMES * usual + FLOOR, SHORTEST), LONGEST)


def mean(usual: float | None, seconds: float) -> float:
    """Take a measurement into a running mean, which begins with the first."""
    return seconds if usual is None else usual + WEIGHT * (seconds - usual)


@dataclass(kw_only=True)
class Vigil:
    """Tells whom a request waits for, where it takes more than ``FIRST`` seconds and ``TIMES`` its kind's usual."""

    clock: Callable[[], float]
    say: Callable[[str], None]
    doing: Callable[[str], str]
    _kind: str = ""
    _begun: float = 0.0
    _pause: float = 0.0
    """How long after the beginning it is told the next time."""
    _usual: dict[str, float] = field(default_factory=dict)

    def begin(self, kind: str) -> None:
        """A request of this kind begins."""
        self._kind, self._begun = kind, self.clock()
        self._pause = max(FIRST, TIMES * self._usual.get(kind, 0.0))

    def look(self, what: str, names: Iterable[str]) -> None:
        """Tell that ``what`` waits for these clients, if it is time to; call it often."""
        if self.clock() - self._begun >= self._pause:
            self._pause *= GROWTH
            self.say(f"{what} waits for {whom(list(names), self.doing)}")

    def end(self) -> float:
        """The request is over; return how long it took."""
        took = self.clock() - self._begun
        self._usual[self._kind] = mean(self._usual.get(self._kind), took)
        return took


@dataclass(kw_only=True)
class Tempo:
    """The seconds that a round usually takes; each of ``followers`` is told of them after each round."""

    followers: Sequence[Callable[[float], None]] = ()
    usual: float | None = None

    def over(self, seconds: float) -> None:
        """A round is over that took so long."""
        self.usual = mean(self.usual, seconds)
        for follow in self.followers:
            follow(self.usual)
