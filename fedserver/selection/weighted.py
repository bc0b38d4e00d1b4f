"""Weighted without replacement: one after the other, each with a probability in proportion to its weight.

The weights come from a file, or are the clients' numbers of training examples, which each client is asked for once,
when it is first there. Weights of a file stay with the coordinator.
"""

from __future__ import annotations

import math
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np

from hansa.fedserver.errors import SelectionError
from hansa.fedserver.policy import CohortPolicy
from hansa.fedserver.selection.check import demand_size
from hansa.fedserver.selection.proportional import proportional
from hansa.fedserver.selection.selection import Draw, DrawFlow, Memory
from hansa.fedserver.selection.table import read, wrong
from hansa.strategies import Released, Request, RoundLost
from hansa.strategies.losses import ask_losses
from hansa.strategies.pipeline import Names


@dataclass(frozen=True, kw_only=True)
class Weighted:
    """Draw in proportion to what a ``table`` says, or to training ``examples``.

    ``table`` is a CSV file with the header ``client,weight``. Who is not in it, or has the weight 0, is never drawn.
    """

    learns: ClassVar[bool] = False

    by: Literal["examples", "table"] = "examples"
    table: str | None = None

    @property
    def asks(self) -> bool:
        return self.by == "examples"

    def check(self, cohort: CohortPolicy) -> None:
        demand_size("weighted", cohort)

    def start(self, names: Sequence[str] | None) -> Memory:
        """Return the weights that are known, by client."""
        if self.asks:
            return {}
        if self.table is None:
            raise SelectionError("selection.by=table: selection.table names no file: give one, or take by=examples.")
        path = Path(self.table)
        return {name: _weight(path, line, text) for name, (line, text) in read(path, "weight", names).items()}

    def draw(self, memory: Memory, draw: Draw) -> DrawFlow:
        here = draw.there.all()
        weights: Mapping[str, float] = memory
        if self.asks and (new := tuple(name for name in here if name not in weights)):
            weights = {**weights, **(yield from self._told(new, draw))}
        return self._drawn(weights, here, draw), weights

    def _told(self, new: Names, draw: Draw) -> Generator[Request, Released, dict[str, float]]:
        """Ask clients for their examples; who does not answer is asked again in the next round."""
        try:
            told = yield from ask_losses(draw.payload, new, draw.cohort.max)
        except RoundLost:
            return {}
        return {name: examples or 0.0 for name, (_, examples) in told.items()}

    def sampling(self, draw: Draw) -> None:
        """Nothing: how probable a client is depends on its data, or on a table that may do so."""

    def _drawn(self, weights: Mapping[str, float], here: Names, draw: Draw) -> Names:
        weights_N = np.array([weights.get(name, 0.0) for name in here], np.float64)
        places = proportional(draw.ctx.secret("", "weighted cohort"), weights_N, draw.size)
        if not places:
            raise RoundLost("no client that is there has a weight above 0: start others, or give them weights.")
        return tuple(here[place] for place in sorted(places))


def _weight(path: Path, line: int, text: str) -> float:
    try:
        weight = float(text)
    except ValueError:
        weight = math.nan
    if not 0 <= weight < math.inf:
        raise wrong(path, line, f"the weight {text!r} is no number from 0 on: write one such as 2.5")
    return weight
