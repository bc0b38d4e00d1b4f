"""Names of made-up clients, by number: a million of them take no memory."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from operator import eq
from typing import overload

FEW = 8
"""Names that are written out."""


@dataclass(frozen=True, eq=False, repr=False)
class Numbered(Sequence[str]):
    """The names ``client-07`` and so on of some places, in the order of the range, with numbers of ``digits`` digits.

    Length, index, slice, membership and place take the same time for any number of names. It is equal to a tuple of the
    same names, and has its hash; only that, and a loop, goes through all of them.

    >>> names(1_000_000).index("client-123456")
    123456
    """

    places: range
    digits: int

    def __len__(self) -> int:
        return len(self.places)

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> Numbered: ...
    def __getitem__(self, index: int | slice) -> str | Numbered:
        if isinstance(index, slice):
            return Numbered(self.places[index], self.digits)
        return self._name(self.places[index])

    def __iter__(self) -> Iterator[str]:
        return map(self._name, self.places)

    def __contains__(self, name: object) -> bool:
        return self._number(name) in self.places

    def index(self, name: str, start: int = 0, stop: int = sys.maxsize) -> int:
        """Return a name's place; raises ValueError."""
        number = self._number(name)
        if number not in (within := self.places[start:stop]):
            raise ValueError(f"{name!r} is none of these names")
        return slice(start, stop).indices(len(self))[0] + within.index(number)

    def count(self, name: str) -> int:
        """Return how often a name is there, 0 or 1."""
        return int(name in self)

    def __eq__(self, other: object) -> bool:
        if isinstance(other, Numbered):
            return self.places == other.places and (self.digits == other.digits or not self.places)
        return isinstance(other, tuple) and len(other) == len(self) and all(map(eq, self, other))

    def __hash__(self) -> int:
        return hash(tuple(self))

    def __repr__(self) -> str:
        if len(self) <= FEW:
            return repr(tuple(self))
        return f"({', '.join(map(repr, islice(self, 2)))}, ..., {self[-1]!r})"

    def _name(self, number: int) -> str:
        return f"client-{number:0{self.digits}}"

    def _number(self, name: object) -> int:
        """Return a name's number, or -1."""
        found = re.fullmatch(r"client-([0-9]{1,18})", name) if isinstance(name, str) else None
        return int(found[1]) if found and len(found[1]) == max(self.digits, len(found[1].lstrip("0"))) else -1


def names(clients: int) -> Numbered:
    """Name the clients of a simulation, in sorted order.

    >>> names(11)[:2], names(2)
    (('client-00', 'client-01'), ('client-0', 'client-1'))
    """
    return Numbered(range(clients), len(str(clients - 1)))
