"""How a client trains, as its configuration says."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields

from hansa.fedclient.errors import SettingsError

OPTIMISERS = ("sgd", "adam", "adamw")
SCHEDULES = ("constant", "linear", "cosine", "step")


@dataclass(frozen=True, kw_only=True)
class Local:
    """Local training of one round.

    It takes ``epochs`` passes over the training data, or exactly ``steps`` batches where that is above 0, in batches of
    ``batch_size`` (0: all examples at once). ``schedule`` lowers ``lr`` over ``horizon`` rounds: to 0 linearly or by a
    cosine, or by the factor ``decay`` at every multiple of it. ``proximal`` is FedProx's mu (Li et al. 2020,
    arXiv:1812.06127, eq. 2). ``device`` is this place's own matter: cpu, cuda or mps.
    """

    optimiser: str = "sgd"
    lr: float = 0.1
    momentum: float = 0.0
    weight_decay: float = 0.0
    epochs: int = 1
    steps: int = 0
    batch_size: int = 32
    schedule: str = "constant"
    horizon: int = 0
    decay: float = 0.1
    proximal: float = 0.0
    device: str = "cpu"

    def __post_init__(self) -> None:
        self._one_of("optimiser", OPTIMISERS)
        self._one_of("schedule", SCHEDULES)
        self._one_of("device", ("cpu", "cuda", "mps"))
        for field in fields(self):
            value = getattr(self, field.name)
            if not isinstance(value, str) and not (math.isfinite(value) and value >= 0):
                raise SettingsError(f"client.{field.name}={value}: it must be a number of at least 0.")
        if self.schedule != "constant" and self.horizon < 1:
            raise SettingsError(f"client.schedule={self.schedule} needs client.horizon: the rounds it decays over.")
        if self.momentum and self.optimiser != "sgd":
            raise SettingsError(f"client.momentum is SGD's: leave it at 0 with client.optimiser={self.optimiser}.")
        if self.epochs < 1 and self.steps < 1:
            raise SettingsError("client.epochs=0 and client.steps=0: one of them must be at least 1.")

    @property
    def plain(self) -> bool:
        """Whether every step is x <- x - lr * gradient."""
        return self.optimiser == "sgd" and not (self.momentum or self.weight_decay or self.proximal)

    def rate(self, round: int) -> float:
        """Return the learning rate of a round, counted from 1."""
        if self.schedule == "constant":
            return self.lr
        if self.schedule == "step":
            return float(self.lr * self.decay ** ((round - 1) // self.horizon))
        done = min(1.0, (round - 1) / self.horizon)
        return self.lr * (1 - done if self.schedule == "linear" else (1 + math.cos(math.pi * done)) / 2)

    def _one_of(self, field: str, known: tuple[str, ...]) -> None:
        if getattr(self, field) not in known:
            raise SettingsError(f"client.{field}={getattr(self, field)!r}: it is one of {', '.join(known)}.")
