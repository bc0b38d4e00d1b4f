"""Who takes part in a round, and when a request is over: one policy for simulations and for deployments.

It is pure: whoever carries the request passes the time in, in seconds of a clock of its own, real or virtual. A request
is over when everybody has answered or failed, or when the rest is cancelled, by the first of these rules:

- over-selection: as many answers are in as the round wants (Bonawitz et al. 2019, "Towards federated learning at
  scale", select 130 %);
- the deadline is over;
- below ``quorum = 1``: a quorum answered in q seconds, and a grace of max(``LEAST``, ``GRACE`` q) more is over;
- below ``quorum = 1``, for one client alone: it takes longer than ``TIMES`` its usual seconds plus ``FLOOR``. Usual is
  a running mean of what was measured; of one that never answered, that of the slowest other.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Iterable
from dataclasses import dataclass, field

from hansa.fedserver.errors import ServerError
from hansa.fedtasks.errors import listed
from hansa.strategies.strategy import trains

GRACE, LEAST = 0.5, 1.0
"""The grace as a share of the time that the quorum took, and the shortest, in seconds."""
TIMES, FLOOR = 3.0, 10.0
"""What a client may take: this often its usual seconds, and these on top."""
WEIGHT = 0.3
"""How much the last measurement counts in the running mean."""


@dataclass(frozen=True, kw_only=True)
class Policy:
    """The numbers that every policy has; see its own kinds. Raises ServerError."""

    size: int | None = None
    min: int = 1
    max: int = 1024
    deadline: float | None = None

    def __post_init__(self) -> None:
        if self.deadline is not None and not self.deadline > 0:
            raise ServerError(f"cohort.deadline={self.deadline}: it must be above 0 seconds, or null to wait for all.")

    @property
    def planned(self) -> int:
        """How many answers a round is planned with, before it is known who is there."""
        return self.size or self.max

    @property
    def needed(self) -> int:
        """How many clients there must be."""
        return max(self.min, self.size or 1)

    @property
    def wants_all(self) -> bool:
        """Whether each round is meant to have everybody."""
        return False

    def expected(self, names: int) -> int:
        """Return how many of so many clients are wanted."""
        return min(names, self.size or names)

    def wait(self, kind: str, pace: Pace, names: int, cohort: bool) -> Wait:
        """Return the machine for a request of a kind to so many clients, who are the round's ``cohort`` or others."""
        return Wait(deadline=self.deadline, kind=kind, pace=pace)


@dataclass(frozen=True, kw_only=True)
class CohortPolicy(Policy):
    """Who takes part in a round and how long it waits.

    ``size`` clients are wanted each round (empty: everyone), and a share ``over`` more are drawn; fewer than ``min``
    answers lose the round. A grace begins after the share ``quorum`` of the answers; ``deadline`` is in seconds (empty:
    as long as it takes); what comes later is dropped. ``max`` fixes the scale of exact sums: no cohort may be larger.
    """

    over: float = 0.0
    quorum: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.min < 1 or (self.size is not None and not self.min <= self.size <= self.max):
            raise ServerError(
                f"cohort: min={self.min}, size={self.size}, max={self.max}: needs 1 <= min <= size <= max."
            )
        if not 0 <= self.over <= 10:
            raise ServerError(f"cohort.over={self.over}: it is a share of size from 0 to 10, such as 0.3.")
        if self.over and self.size is None:
            raise ServerError(
                f"cohort.over={self.over}: everyone is drawn already: set cohort.size, or leave over out."
            )
        if not 0 < self.quorum <= 1:
            raise ServerError(f"cohort.quorum={self.quorum}: it is a share above 0, and 1 at most to wait for all.")

    @property
    def drawn(self) -> int | None:
        """How many clients are drawn, over-selection included; None for everyone."""
        return None if self.size is None else self.size + math.ceil(round(self.size * self.over, 9))

    @property
    def wants_all(self) -> bool:
        return self.size is None and self.quorum == 1

    def wait(self, kind: str, pace: Pace, names: int, cohort: bool) -> Wait:
        wanted = self.expected(names) if cohort and self.over else names
        return Wait(
            deadline=self.deadline, quorum=self.quorum, least=self.min, wanted=max(1, wanted), kind=kind, pace=pace
        )


@dataclass(kw_only=True)
class Pace:
    """A running estimate of the seconds that each client takes for each kind of request."""

    _usual: dict[str, dict[str, float]] = field(default_factory=dict)

    def note(self, kind: str, name: str, seconds: float) -> None:
        """Take in a measurement."""
        known = self._usual.setdefault(kind, {})
        known[name] = known[name] + WEIGHT * (seconds - known[name]) if name in known else seconds

    def training(self, name: str) -> float | None:
        """Return the seconds that a client takes for all the training of a round; None where nothing was measured."""
        known = [usual[name] for kind, usual in self._usual.items() if trains(kind) and name in usual]
        return sum(known) if known else None

    def gave_up(self, kind: str, name: str, seconds: float) -> None:
        """Take in that a client was not done after so many seconds: it may take longer the next time."""
        known = self._usual.setdefault(kind, {})
        known[name] = max(seconds, known.get(name, 0.0))

    def allowed(self, kind: str, names: Iterable[str]) -> dict[str, float]:
        """Return the seconds that each client may take; without bound while nobody was measured.

        >>> pace = Pace()
        >>> pace.note("train", "riga", 20.0)
        >>> pace.allowed("train", ["riga", "bergen"])
        {'riga': 70.0, 'bergen': 70.0}
        """
        known = self._usual.get(kind, {})
        slowest = max(known.values(), default=math.inf)
        return {name: TIMES * known.get(name, slowest) + FLOOR for name in names}


@dataclass(kw_only=True)
class Wait:
    """One request as it goes on: whom it waits for, and whom it gives up and why. Without settings it waits for all.

    Whoever carries the request says what happens, and asks ``cut`` whom to cancel, at the latest at ``wake``.
    """

    deadline: float | None = None
    quorum: float = 1.0
    least: int = 1
    wanted: int | None = None
    kind: str = ""
    pace: Pace = field(default_factory=Pace)
    counted: list[str] = field(default_factory=list)
    refused: dict[str, str] = field(default_factory=dict)
    """Who failed or was cancelled, and why."""
    spared: set[str] = field(default_factory=set)
    """Who was cancelled because as many answers are in as are wanted: that is no failure."""
    _waiting: dict[str, None] = field(default_factory=dict)
    _limits: list[tuple[float, str]] = field(default_factory=list)
    """Until when it waits for each client at the latest, a heap; of some it does not wait for any longer, too."""
    _begun: float = 0.0
    _grace: float = math.inf

    def begin(self, names: Iterable[str], now: float) -> None:
        """The request was sent to these clients."""
        self._begun, self._waiting = now, dict.fromkeys(names)
        self.wanted = len(self._waiting) if self.wanted is None else min(self.wanted, len(self._waiting))
        if self.quorum < 1:
            allowed = self.pace.allowed(self.kind, self._waiting)
            self._limits = [(now + seconds, name) for name, seconds in allowed.items() if seconds < math.inf]
            heapq.heapify(self._limits)

    @property
    def over(self) -> bool:
        """Whether nobody is waited for any more."""
        return not self._waiting

    @property
    def enough(self) -> bool:
        """Whether as many answers are in as are wanted."""
        return len(self.counted) == self.wanted

    def answered(self, name: str, now: float) -> None:
        """A client's answer is there; nothing happens where nobody waits for it."""
        if name not in self._waiting:
            return
        del self._waiting[name]
        self.counted.append(name)
        self.pace.note(self.kind, name, now - self._begun)
        if self.quorum < 1 and len(self.counted) == self._enough():
            self._grace = now + max(LEAST, GRACE * (now - self._begun))

    def failed(self, name: str, why: str) -> None:
        """A client will not answer."""
        if name in self._waiting:
            del self._waiting[name]
            self.refused[name] = why

    def wake(self) -> float:
        """Return the next time at which somebody is to be cancelled, if nothing happens until then."""
        while self._limits and self._limits[0][1] not in self._waiting:
            heapq.heappop(self._limits)
        return min([self._end()[0], *(limit for limit, _ in self._limits[:1])])

    def cut(self, now: float) -> dict[str, str]:
        """Give up whom the rules do not wait for any longer; return who that is and why."""
        end, why = self._end()
        if self.enough:
            out = dict.fromkeys(self._waiting, f"not needed: {self.wanted} answers are in, which are enough")
            self.spared.update(out)
        elif now >= end:
            out = dict.fromkeys(self._waiting, f"late: {why} for {listed(sorted(self._waiting))}")
        else:
            out = dict.fromkeys(self._slow(now), f"late: {now - self._begun:.1f} s are more than it was seen to need")
        for name, told in out.items():
            self.failed(name, told)
            if now > self._begun:
                self.pace.gave_up(self.kind, name, now - self._begun)
        return out

    def _slow(self, now: float) -> list[str]:
        """Return those whose own time is over, where not everybody's is."""
        slow = []
        while self.wake() <= now:
            slow.append(heapq.heappop(self._limits)[1])
        return slow

    def _enough(self) -> int:
        """Return how many answers are a quorum."""
        wanted = self.wanted or 0
        return max(min(self.least, wanted), math.ceil(round(self.quorum * wanted, 9)))

    def _end(self) -> tuple[float, str]:
        """Return when all the rest is cancelled, and why."""
        deadline = math.inf if self.deadline is None else self._begun + self.deadline
        if self._grace < deadline:
            return self._grace, f"{self._enough()} answers are the quorum, and no longer grace is given"
        return deadline, f"no answer within cohort.deadline={self.deadline}, which is over"
