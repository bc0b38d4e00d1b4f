"""A rule makes one vector of the rows of many clients, some of which may be wrong."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

from hansa.strategies.errors import CompositionError, StrategyError
from hansa.strategies.types import Array


@dataclass(frozen=True, kw_only=True)
class Rule(ABC):
    """The base of rules: works on any number of rows, remembers nothing and selects nobody."""

    remembers: ClassVar[bool] = False
    """Whether it begins at the vector that it returned last."""

    def check(self, rows: int, error: type[StrategyError] = CompositionError) -> None:
        """Raise the error where it cannot work on so many rows."""
        enough(rows, 1, type(self).__name__, "have more clients", error)

    def selects(self, rows: int) -> int:
        """Return how many of so many rows it selects; 0 where it makes use of all."""
        return 0

    @abstractmethod
    def __call__(self, rows_GP: Array, last_P: Array | None = None) -> Array:
        """Return one vector (P,) of rows, both float32; ``last_P`` is what was returned last. Raises RoundLost."""
        ...


def enough(rows: int, least: int, who: str, remedy: str, error: type[StrategyError]) -> None:
    """Raise the error where there are fewer rows than a rule needs."""
    if rows < least:
        raise error(f"{who} needs {least} clients (or groups, or buckets) and there are {rows}: {remedy}.")
