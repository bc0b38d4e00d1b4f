"""Round-robin: each client once an epoch, in an order that is shuffled anew for each epoch.

An epoch has a roster, which is all clients that are known when it begins, and an order by a key of its own. Cohorts are
cut from that order. Whoever is away when its turn comes is owed one and is taken first in the rounds that follow. An
epoch is over when the order is; turns that are still owed then are given up, and new clients join the next roster.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import ClassVar

from hansa.fedserver.policy import CohortPolicy
from hansa.fedserver.selection.check import demand_size
from hansa.fedserver.selection.selection import Draw, DrawFlow, Memory, at_once
from hansa.fedserver.selection.shuffle import Shuffle
from hansa.strategies.keys import derive
from hansa.strategies.pipeline import Names

LOOKS = 20
"""How many clients that are owed a turn are looked at, for each client that a round wants."""


@dataclass(frozen=True, kw_only=True)
class Turn:
    """Where a run is: the epoch, how many of its order have had their turn, and the places that are owed one.

    ``roster`` is the sequence of names as the federation gives it: of made-up names it takes no memory.
    """

    epoch: int
    roster: Names
    at: int = 0
    owed: tuple[int, ...] = ()


@dataclass(frozen=True, kw_only=True)
class RoundRobin:
    """Draw each client once an epoch.

    It looks at about size / (share of those who are there) clients a round; at all where fewer than size are there.
    """

    learns: ClassVar[bool] = False
    asks: ClassVar[bool] = False

    def check(self, cohort: CohortPolicy) -> None:
        demand_size("round_robin", cohort)

    def start(self, names: Sequence[str] | None) -> Memory:
        return Turn(epoch=0, roster=())

    def draw(self, memory: Memory, draw: Draw) -> DrawFlow:
        walk = _Walk(draw=draw, turn=memory)
        walk.take_owed()
        walk.take_in_order()
        return at_once(tuple(sorted(walk.chosen)), walk.turn)

    def sampling(self, draw: Draw) -> None:
        """Nothing: who was there a round ago will not be there in this one."""


@dataclass
class _Walk:
    """One draw as it goes on."""

    draw: Draw
    turn: Turn
    chosen: dict[str, None] = field(default_factory=dict)

    def take_owed(self) -> None:
        """Take those who were away and are back; who is not goes to the end of the queue."""
        turn, looks = self.turn, LOOKS * self.draw.size
        away = [place for place in turn.owed[:looks] if not self._missing() or not self._took(turn.roster[place])]
        self.turn = replace(turn, owed=(*turn.owed[looks:], *away))

    def take_in_order(self) -> None:
        """Take clients in the order of the epoch, and of the next where it is over, but nobody twice."""
        turn, at, owed = self.turn, self.turn.at, list(self.turn.owed)
        order, epochs = self._order(turn), 0
        while self._missing() and (at < len(turn.roster) or epochs == 0):
            if at == len(turn.roster):
                turn, epochs = Turn(epoch=turn.epoch + 1, roster=self.draw.there.names), 1
                order, at, owed = self._order(turn), 0, []
                continue
            place, at = order[at], at + 1
            if not self._took(turn.roster[place]):
                owed.append(place)
        self.turn = replace(turn, at=at, owed=tuple(owed))

    def _order(self, turn: Turn) -> Shuffle:
        return Shuffle(derive(self.draw.ctx.own, "round robin", turn.epoch), len(turn.roster))

    def _missing(self) -> int:
        return self.draw.size - len(self.chosen)

    def _took(self, name: str) -> bool:
        """Take a client that is there and was not taken in this round yet."""
        if name in self.chosen or not self.draw.there.here(name):
            return False
        self.chosen[name] = None
        return True
