"""Worker momentum (Karimireddy et al. 2021, "Learning from history", arXiv:2012.10333, algorithm 2)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from hansa.strategies.keys import Context
from hansa.strategies.pipeline import Names
from hansa.strategies.types import Array, Slices, Tree
from hansa.strategies.work import PRIVATE, Trainer, Work

MOMENTUM = "momentum"
"""The client state m_i as it was sent; 0 before the first round, and it never leaves the client otherwise."""


@dataclass(frozen=True, kw_only=True)
class MomentumTraining(Work):
    """Train locally, and send the running mean of the client's updates d_i in place of the last one:

        m_i <- (1 - momentum) d_i + momentum m_i,    at first m_i = d_i.

    The mean forgets what differs by chance, so that honest clients stand close together and a wrong one finds less room
    between them. Buffers, which no gradient trains, are sent as they are.
    """

    advances: ClassVar[bool] = True
    momentum: float
    buffers: Slices

    def start(self, trainer: Trainer, parameters: int, names: Names) -> dict[str, Array]:
        return {PRIVATE: trainer.private(names), MOMENTUM: np.zeros((len(names), parameters), np.float32)}

    def run(
        self, trainer: Trainer, payload: Tree, states: Tree, names: Names, ctx: Context
    ) -> tuple[dict[str, Array], dict[str, Array]]:
        trained = trainer.train(payload["model"], states[PRIVATE], names, ctx)
        keep_B = np.where(states[MOMENTUM].any(axis=1), np.float32(self.momentum), np.float32(0))[:, None]
        mean_BP = (1 - keep_B) * trained.delta_BP + keep_B * states[MOMENTUM]
        for where in self.buffers:
            mean_BP[:, where] = trained.delta_BP[:, where]
        return {"delta": mean_BP, "loss": trained.loss_B}, {**states, PRIVATE: trained.private_BQ}

    def advance(self, states: Tree, sent: Tree) -> dict[str, Array]:
        return {**states, MOMENTUM: sent["delta"]}
