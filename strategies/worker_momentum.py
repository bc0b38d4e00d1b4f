"""Worker momentum (Karimireddy et al. 2021, "Learning from history", arXiv:2012.10333, algorithm 2)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hansa.strategies.keys import Context
from hansa.strategies.pipeline import Names
from hansa.strategies.types import Array, Slices, Tree
from hansa.strategies.work import PRIVATE, Trainer, Work

MOMENTUM = "momentum"
"""The client state m_i before a pipeline clips or rounds it, for nobody else holds a copy; at first it is 0."""


@dataclass(frozen=True, kw_only=True)
class MomentumTraining(Work):
    """Train locally, and send the running mean of the client's updates d_i in place of the last one:

        m_i <- (1 - momentum) d_i + momentum m_i,    at first m_i = d_i.

    The mean forgets what differs by chance, so that honest clients stand close together and a wrong one finds less room
    between them. Buffers, which no gradient trains, are sent as they are.
    """

    momentum: float
    buffers: Slices

    def start(self, trainer: Trainer, parameters: int, names: Names) -> dict[str, Array]:
        return {PRIVATE: trainer.private(names), MOMENTUM: np.zeros((len(names), parameters), np.float32)}

    def run(
        self, trainer: Trainer, payload: Tree, states: Tree, names: Names, ctx: Context
    ) -> tuple[dict[str, Array], dict[str, Array]]:
        trained = trainer.train(payload["model"], states[PRIVATE], names, ctx)
        keep_B1 = self.momentum * states[MOMENTUM].any(axis=1, keepdims=True).astype(np.float32)
        mean_BP = (1 - keep_B1) * trained.delta_BP + keep_B1 * states[MOMENTUM]
        for where in self.buffers:
            mean_BP[:, where] = trained.delta_BP[:, where]
        return {"delta": mean_BP, "loss": trained.loss_B}, {PRIVATE: trained.private_BQ, MOMENTUM: mean_BP}
