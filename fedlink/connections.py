"""Who is connected, how long, how often and how noisily each may be: decisions without I/O, for ``guard``.

A *line* is one connection, known by its address. It is a stranger until a call on it is admitted, and idle while it has
no call. Time is passed in, in seconds.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, kw_only=True)
class Rate:
    """``burst`` at once, and ``every`` second so many."""

    burst: float
    every: float


@dataclass(frozen=True, kw_only=True)
class Rules:
    """What connections may do."""

    idle: float = 5.0
    """Seconds that a line may be without a call, from its first byte on."""
    calls: Rate = Rate(burst=16, every=2)
    """Calls of one line."""
    arrivals: Rate = Rate(burst=30, every=1)
    """Lines of one client that are admitted."""
    strangers: Rate = Rate(burst=256, every=40)
    """Lines of anybody; one that is admitted does not count."""
    noise: Rate = Rate(burst=24 * 2**20, every=2**16)
    """Bytes that were received on an admitted line and were neither a frame nor asked for."""
    greeting: float = 2**18
    """Bytes that a stranger may send."""
    offence: float = 64
    """How many strangers a line counts for that broke a rule."""


@dataclass(eq=False)
class Bucket:
    """What is left of a rate."""

    rate: Rate
    at: float
    left: float = field(init=False)

    def __post_init__(self) -> None:
        self.left = self.rate.burst

    def take(self, now: float, cost: float = 1) -> float:
        """Take what something costs; where it is not there take nothing, and return the seconds until it is."""
        self.give(self.rate.every * (now - self.at))
        self.at = now
        if cost > self.left:
            return (cost - self.left) / self.rate.every
        self.give(-cost)
        return 0.0

    def give(self, tokens: float) -> None:
        """Give something back."""
        self.left = min(self.rate.burst, self.left + tokens)

    def full(self, now: float) -> bool:
        """Whether nothing is missing by now."""
        self.take(now, 0)
        return self.left >= self.rate.burst


@dataclass(eq=False)
class Line:
    """One connection. ``used`` are the bytes on it that were of use, ``heard`` all that were received."""

    idle_since: float
    calls: Bucket
    noise: Bucket
    busy: int = 0
    admitted: bool = False
    leaving: bool = False
    """Whether it is ended as soon as it has no call."""
    used: float = 0
    heard: float = 0


@dataclass(eq=False)
class Connections:
    """All lines of a server by their addresses."""

    now: float
    rules: Rules = field(default_factory=Rules)
    lines: dict[str, Line] = field(default_factory=dict)
    strangers: Bucket = field(init=False)
    _of: dict[tuple[str, str], str] = field(default_factory=dict)
    """The newest line of a client and kind of call."""
    _arrivals: dict[str, Bucket] = field(default_factory=dict)
    _doomed: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.strangers = Bucket(self.rules.strangers, self.now)

    def begin(self, address: str, now: float) -> bool:
        """Say that a call begins; False where its line has had too many: it is to be ended at once."""
        line = self._line(address, now)
        line.busy += 1
        if line.calls.take(now):
            self._condemn(address)
            return False
        return True

    def end(self, address: str, now: float) -> None:
        """Say that a call is over."""
        if (line := self.lines.get(address)) is not None:
            line.busy, line.idle_since = line.busy - 1, now

    def admit(self, address: str, client: str, kind: str, now: float) -> bool:
        """Say who a line is; an older line of the same client and kind is to be ended. False where it came too often.

        Kinds are apart so that a device can renew its certificate beside its session.
        """
        if self._arrivals.setdefault(client, Bucket(self.rules.arrivals, now)).take(now):
            return False
        line = self._line(address, now)
        if not line.admitted:
            line.admitted = True
            line.noise.give(self.rules.noise.burst)
            self.strangers.give(1)
        if (older := self._of.get((client, kind), address)) != address and older in self.lines:
            self.lines[older].leaving = True
        self._of[client, kind] = address
        return True

    def use(self, address: str, size: float) -> None:
        """Say that so many bytes of a line were of use."""
        if (line := self.lines.get(address)) is not None:
            line.used += size

    def look(self, there: Mapping[str, float], now: float) -> Collection[str]:
        """Return which lines are to be ended. ``there`` are all that are open, with the bytes received on each."""
        self.lines = {address: line for address, line in self.lines.items() if address in there}
        for address, heard in there.items():
            line = self._line(address, now)
            if line.noise.take(now, heard - line.heard - line.used):
                self._condemn(address)
            elif not line.busy and (line.leaving or now - line.idle_since > self.rules.idle):
                self._doomed.add(address)
            line.heard, line.used = heard, 0
        self._of = {key: address for key, address in self._of.items() if address in self.lines}
        self._arrivals = {client: bucket for client, bucket in self._arrivals.items() if not bucket.full(now)}
        ended, self._doomed = self._doomed, set()
        return ended

    @property
    def restless(self) -> bool:
        """Whether somebody is there who is not admitted."""
        return any(not line.admitted for line in self.lines.values())

    def _line(self, address: str, now: float) -> Line:
        if (line := self.lines.get(address)) is None:
            line = self.lines[address] = Line(now, Bucket(self.rules.calls, now), Bucket(self.rules.noise, now))
            line.noise.left = self.rules.greeting
        return line

    def _condemn(self, address: str) -> None:
        self._doomed.add(address)
        self.strangers.give(-self.rules.offence)
