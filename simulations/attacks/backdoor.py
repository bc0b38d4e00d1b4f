"""Backdoor by poisoned data (Gu, Dolan-Gavitt, Garg 2017, "BadNets", arXiv:1708.06733).

Of an attacker's N examples (x, y) a share is replaced:

    x <- trigger(x),    y <- target    for round(poisoned N) of them.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from hansa.simulations.attacks.check import demand_class, demand_share
from hansa.simulations.attacks.trigger import Patch, Trigger
from hansa.simulations.errors import AttackError


@dataclass(frozen=True, kw_only=True)
class Backdoor:
    """Attackers teach the model to answer ``target`` where it sees the trigger, and else to be right.

    ``poisoned`` is the share of an attacker's examples. Raises AttackError.
    """

    share: float = 0.2
    target: int = 0
    poisoned: float = 0.5
    trigger: Trigger = field(default_factory=Patch)

    def __post_init__(self) -> None:
        demand_share(self.share)
        if not 0 < self.poisoned <= 1:
            raise AttackError(f"attack.poisoned={self.poisoned}: it is a share above 0, and 1 at most.")

    def check(self, inputs: Tensor, classes: int) -> None:
        demand_class("target", self.target, classes)
        self.trigger.put(inputs)

    def poison(self, inputs: Tensor, targets: Tensor, classes: int, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
        count = len(targets)
        rows = torch.from_numpy(np.sort(rng.choice(count, round(self.poisoned * count), replace=False)))
        inputs, targets = inputs.clone(), targets.clone()
        inputs[rows] = self.trigger.put(inputs[rows])
        targets[rows] = self.target
        return inputs, targets
