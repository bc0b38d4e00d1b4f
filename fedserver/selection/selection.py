"""What a selection is: it chooses a round's cohort from the clients that are there, with the coordinator's keys.

A draw is a generator of requests, as a round is: a selection may ask clients for something before it chooses. It is
pure. What it remembers from one round to the next is a plain value, its memory, which it is given and gives back.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol, TypeAlias

from hansa.fedserver.policy import CohortPolicy
from hansa.fedserver.selection.there import There
from hansa.strategies import Context, Released, Request
from hansa.strategies.pipeline import Names
from hansa.strategies.types import Tree

Memory: TypeAlias = Any
"""What a selection remembers: a plain value of its own kind; None where it is nothing."""

Drawn: TypeAlias = tuple[Names, Memory]
DrawFlow: TypeAlias = Generator[Request, Released, Drawn]


POISSON, UNIFORM = "poisson", "uniform without replacement"


class Sampling(NamedTuple):
    """How a cohort was sampled, for whoever accounts for privacy.

    ``rate`` is the probability with which a client that is there is drawn; None where nobody counts who is there. Kinds
    that depend on data, or on who was drawn before, have no sampling to count on.
    """

    scheme: str
    rate: float | None


@dataclass(frozen=True, kw_only=True)
class Seen:
    """What the coordinator knows of a client: the last round that counted it, its mean loss when it was last told, the
    number of examples behind that, and how many seconds it takes to train."""

    round: int = 0
    loss: float | None = None
    examples: float | None = None
    seconds: float | None = None


@dataclass(frozen=True, kw_only=True)
class Draw:
    """What a draw is made from: the coordinator's context of the round, who is there, how many, what is known.

    ``payload`` is what goes along when clients are asked about the model as it is now. ``seen`` has those clients of
    which something is known; it is kept only for a selection that ``learns``.
    """

    ctx: Context
    there: There
    cohort: CohortPolicy
    payload: Tree = field(default_factory=dict)
    seen: Mapping[str, Seen] = field(default_factory=dict)

    @property
    def size(self) -> int:
        """How many clients are drawn; ``check`` has seen to it that there is such a number."""
        return self.cohort.drawn or len(self.there.names)


class Selection(Protocol):
    """Chooses cohorts; a frozen dataclass whose fields are its settings."""

    @property
    def learns(self) -> bool:
        """Whether it wants to know what the coordinator sees of clients."""
        ...

    @property
    def asks(self) -> bool:
        """Whether it asks clients for their losses, so that they must be able to answer."""
        ...

    def check(self, cohort: CohortPolicy) -> None:
        """Raise SelectionError where these cohorts cannot be drawn so."""
        ...

    def start(self, names: Sequence[str] | None) -> Memory:
        """Return the memory before the first round; ``names`` are all clients there are, sorted, where that is known.

        Raises SelectionError for a file that cannot be read, or is of others.
        """
        ...

    def draw(self, memory: Memory, draw: Draw) -> DrawFlow:
        """Choose a cohort, sorted; all who are there where they are fewer. Raises RoundLost where it cannot be used."""
        ...

    def sampling(self, draw: Draw) -> Sampling | None:
        """Say how a cohort is sampled; None where nothing can be counted on."""
        ...


def at_once(names: Names, memory: Memory) -> DrawFlow:
    """Return a draw that asks nobody anything."""
    yield from ()
    return names, memory
