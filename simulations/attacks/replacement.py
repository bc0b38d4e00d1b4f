"""Model replacement (Bagdasaryan, Veit, Hua, Estrin, Shmatikov 2020, arXiv:1807.00459).

Attackers train a backdoor (``backdoor.py``), and send their update d_a so enlarged that the mean over the n clients of
a request, of which m attack, moves the model to theirs:

    s_a = scale d_a,    scale = n / m.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from torch import Tensor

from hansa.simulations.attacks.attack import Moment
from hansa.simulations.attacks.backdoor import Backdoor
from hansa.simulations.attacks.check import demand_positive
from hansa.simulations.attacks.trigger import Patch, Trigger
from hansa.strategies.types import Array


@dataclass(frozen=True, kw_only=True)
class Replacement:
    """A backdoor whose updates outweigh all others; ``scale`` is n / m where it is empty. Raises AttackError."""

    share: float = 0.2
    target: int = 0
    poisoned: float = 0.5
    scale: float | None = None
    trigger: Trigger = field(default_factory=Patch)

    def __post_init__(self) -> None:
        _ = self._backdoor
        if self.scale is not None:
            demand_positive("scale", self.scale)

    def check(self, inputs: Tensor, classes: int) -> None:
        self._backdoor.check(inputs, classes)

    def poison(self, inputs: Tensor, targets: Tensor, classes: int, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
        return self._backdoor.poison(inputs, targets, classes, rng)

    def forge(self, honest_AP: Array, moment: Moment) -> Array:
        scale = moment.clients / len(honest_AP) if self.scale is None else self.scale
        return scale * honest_AP

    @property
    def _backdoor(self) -> Backdoor:
        return Backdoor(share=self.share, target=self.target, poisoned=self.poisoned, trigger=self.trigger)
