"""Power-of-choice: of some candidates, those with the highest loss (Cho et al. 2020, arXiv:2010.01243).

1. d candidates are drawn uniformly without replacement from those who are there;
2. each tells loss_n, the mean loss of the round's model on its training data (``ask``: the paper's pi_pow-d); or the
   last loss counts that the coordinator knows of it, and is infinite where it knows none (its pi_rpow-d);
3. the ``cohort.size`` candidates with the highest loss_n take part; equal losses are put in order by a key.

The larger d, the more it leans to clients with a high loss: d = size is uniform. Left out: the paper draws candidates
in proportion to their data, and lets them measure on a part of it (pi_cpow-d).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from hansa.fedserver.errors import SelectionError
from hansa.fedserver.policy import CohortPolicy
from hansa.fedserver.selection.check import demand_size
from hansa.fedserver.selection.selection import Draw, DrawFlow, Memory
from hansa.strategies.losses import ask_losses


@dataclass(frozen=True, kw_only=True)
class PowerOfChoice:
    """Draw those of ``candidates`` (empty: twice as many as are drawn) whose loss is highest."""

    candidates: int | None = None
    ask: bool = True

    @property
    def asks(self) -> bool:
        return self.ask

    @property
    def learns(self) -> bool:
        return not self.ask

    def check(self, cohort: CohortPolicy) -> None:
        demand_size("power_of_choice", cohort)
        if self.candidates is not None and self.candidates < (drawn := cohort.drawn or 0):
            raise SelectionError(
                f"selection.candidates={self.candidates}: {drawn} clients are drawn from them: raise it, to twice as "
                "many for a mild preference, or leave it empty."
            )

    def start(self, names: Sequence[str] | None) -> Memory:
        return None

    def draw(self, memory: Memory, draw: Draw) -> DrawFlow:
        names = draw.there.sample(draw.ctx, self.candidates or 2 * draw.size)
        if self.ask:
            told = yield from ask_losses(draw.payload, names, draw.cohort.max)
            losses = {name: loss for name, (loss, _) in told.items()}
        else:
            losses = {name: _known(draw, name) for name in names}
        return self._highest(losses, draw), memory

    def sampling(self, draw: Draw) -> None:
        """Nothing: who takes part depends on the clients' data."""

    def _highest(self, losses: Mapping[str, float], draw: Draw) -> tuple[str, ...]:
        luck = draw.ctx.secret("", "equal losses").random(len(losses)).tolist()
        order = sorted(zip(losses, luck, strict=True), key=lambda one: (-losses[one[0]], one[1]))
        return tuple(sorted(name for name, _ in order[: draw.size]))


def _known(draw: Draw, name: str) -> float:
    """Return a client's last loss; infinity where it is not known."""
    seen = draw.seen.get(name)
    return math.inf if seen is None or seen.loss is None else seen.loss
