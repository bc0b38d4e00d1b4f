"""What a round did, for people and for the log."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol, TypeAlias

from hansa.strategies.pipeline import Names

Values: TypeAlias = dict[str, float | None]
"""Metrics by name; None where one cannot be told."""


@dataclass(frozen=True)
class Refusal:
    """A client whose answer is not in a total, and why."""

    client: str
    why: str


class Trip(NamedTuple):
    """A virtual client's way through one request, in seconds of virtual time from when it began.

    ``fate`` is ``counted``, ``cancelled``, ``dropped``, or ``absent`` where it was not there at all.
    """

    client: str
    endpoint: str
    at: float
    download: float
    compute: float
    upload: float
    fate: str

    @property
    def end(self) -> float:
        return self.at + self.download + self.compute + self.upload


@dataclass(frozen=True, kw_only=True)
class VirtualTime:
    """What a round took on virtual devices: seconds until it was over, the time then, and energy of all its clients."""

    seconds: float
    until: float
    joules: float
    timeline: list[Trip] = field(default_factory=list)

    def then(self, later: VirtualTime) -> VirtualTime:
        """Return this with what came after it."""
        return VirtualTime(
            seconds=self.seconds + later.seconds,
            until=later.until,
            joules=self.joules + later.joules,
            timeline=[*self.timeline, *later.timeline],
        )


@dataclass(kw_only=True)
class RoundRecord:
    """One round; round 0 holds the task's federated queries. ``lost`` says why a round brought nothing.

    ``not_needed`` has whom over-selection cancelled. ``virtual`` is None where clients are real, or have no devices.
    ``staleness`` has, in an asynchronous run, the clients that were counted, and how many rounds old the model was that
    each of them answered.
    """

    round: int
    cohort: int
    counted: int = 0
    requests: int = 0
    seconds: float = 0.0
    bytes_up: int = 0
    bytes_down: int = 0
    metrics: Values = field(default_factory=dict)
    clients: dict[str, Values] = field(default_factory=dict)
    refused: list[Refusal] = field(default_factory=list)
    not_needed: list[str] = field(default_factory=list)
    lost: str | None = None
    virtual: VirtualTime | None = None
    staleness: dict[str, int] = field(default_factory=dict)

    def add_time(self, virtual: VirtualTime) -> None:
        """Take in the virtual time of one more request."""
        self.virtual = virtual if self.virtual is None else self.virtual.then(virtual)


def written(record: RoundRecord) -> dict[str, Any]:
    """Return a record as JSON has it, which has no number that is not finite: null stands for one."""
    found = {name: finite(value) for name, value in dataclasses.asdict(record).items()}
    if not record.staleness:
        del found["staleness"]
    if record.virtual is None:
        del found["virtual"]
    else:
        found["virtual"]["timeline"] = [_rounded(trip) for trip in record.virtual.timeline]
    return found


def _rounded(trip: Trip) -> dict[str, Any]:
    """Write a trip to a millisecond, which keeps long timelines short."""
    return {k: round(v, 3) if isinstance(v, float) else v for k, v in trip._asdict().items()}


def finite(value: Any) -> Any:
    """Return a value as JSON has it: null in place of numbers that are not finite."""
    if isinstance(value, dict):
        return {name: finite(part) for name, part in value.items()}
    return None if isinstance(value, float) and not math.isfinite(value) else value


class Watcher(Protocol):
    """Is told what happens while a round goes on."""

    def opened(self, record: RoundRecord, endpoint: str, names: Names, wanted: int) -> None:
        """A request was sent to these clients, of whom so many answers are wanted."""
        ...

    def joined(self, record: RoundRecord, names: Names) -> None:
        """These clients were sent the same request later."""
        ...

    def answered(self, record: RoundRecord, client: str) -> None:
        """A client's row was added to the total."""
        ...

    def refused(self, record: RoundRecord, refusal: Refusal) -> None:
        """A client's answer was not let in."""
        ...
