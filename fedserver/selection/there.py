"""Who is there at the beginning of a round, looked at only as far as a selection needs it."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from hansa.strategies import Context
from hansa.strategies.pipeline import Names


class There(Protocol):
    """The clients that are there. ``names`` are all that the federation knows of, sorted, and may be made up lazily."""

    @property
    def names(self) -> Names: ...

    @property
    def count(self) -> int | None:
        """How many are there; None where that would have to be found out."""
        ...

    def here(self, name: str) -> bool:
        """Say whether a client is there."""
        ...

    def all(self) -> Names:
        """Return all who are there, sorted; it may take time for each client that there is."""
        ...

    def sample(self, ctx: Context, size: int | None) -> Names:
        """Draw so many of those who are there, uniformly without replacement; all of them where they are fewer, or
        where no size is given."""
        ...


@dataclass(frozen=True)
class Present:
    """Clients of which all that are known are there."""

    names: Names

    @property
    def count(self) -> int:
        return len(self.names)

    def here(self, name: str) -> bool:
        return knows(self.names, name)

    def all(self) -> Names:
        return self.names

    def sample(self, ctx: Context, size: int | None) -> Names:
        return self.names if size is None or size >= len(self.names) else ctx.sample(self.names, size)


def knows(names: Sequence[str], name: str) -> bool:
    """Say whether a name is among sorted names.

    >>> knows(("bergen", "riga"), "riga"), knows(("bergen", "riga"), "turku")
    (True, False)
    """
    place = bisect_left(names, name)
    return place < len(names) and names[place] == name
