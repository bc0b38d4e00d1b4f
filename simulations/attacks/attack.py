"""What an attack is: attackers may forge what they send, or poison what they train on.

Shape suffixes: A attackers of a request, N examples, P shared parameters.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from torch import Tensor

from hansa.simulations.attacks.trigger import Trigger
from hansa.strategies import Context
from hansa.strategies.pipeline import Names
from hansa.strategies.types import Array


class Attack(Protocol):
    """What all attacks have: the share of the clients that attack."""

    @property
    def share(self) -> float: ...


@dataclass(frozen=True, kw_only=True)
class Moment:
    """A request, as attackers see it: their sorted names, and how many ``clients`` were asked, honest or not."""

    ctx: Context
    names: Names
    clients: int


@runtime_checkable
class Forging(Protocol):
    """An attack on updates."""

    def forge(self, honest_AP: Array, moment: Moment) -> Array:
        """Return what each attacker sends as its update, given what all of them would honestly send, in float64."""
        ...


@runtime_checkable
class Poisoning(Protocol):
    """An attack on training data."""

    def check(self, inputs: Tensor, classes: int) -> None:
        """Raise AttackError for settings that do not fit a task's inputs and number of classes."""
        ...

    def poison(self, inputs: Tensor, targets: Tensor, classes: int, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
        """Return what an attacker trains on in place of inputs (N, ...) and targets (N,), which stay as they are."""
        ...


@runtime_checkable
class Triggered(Protocol):
    """An attack that wants a trigger in the input to turn any example into the ``target`` class."""

    @property
    def trigger(self) -> Trigger: ...

    @property
    def target(self) -> int: ...
