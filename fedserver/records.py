"""What a round did, for people and for the log."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeAlias

from hansa.strategies.pipeline import Names

Values: TypeAlias = dict[str, float | None]
"""Metrics by name; None where one cannot be told."""


@dataclass(frozen=True)
class Refusal:
    """A client whose answer is not in a total, and why."""

    client: str
    why: str


@dataclass(kw_only=True)
class RoundRecord:
    """One round; round 0 holds the task's federated queries. ``lost`` says why a round brought nothing."""

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
    lost: str | None = None


def written(record: RoundRecord) -> dict[str, Any]:
    """Return a record as JSON has it, which has no number that is not finite: null stands for one."""
    return {name: _finite(value) for name, value in dataclasses.asdict(record).items()}


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _finite(part) for name, part in value.items()}
    return None if isinstance(value, float) and not math.isfinite(value) else value


class Watcher(Protocol):
    """Is told what happens while a round goes on."""

    def opened(self, record: RoundRecord, endpoint: str, names: Names) -> None:
        """A request was sent to these clients."""
        ...

    def answered(self, record: RoundRecord, client: str) -> None:
        """A client's row was added to the total."""
        ...

    def refused(self, record: RoundRecord, refusal: Refusal) -> None:
        """A client's answer was not let in."""
        ...
