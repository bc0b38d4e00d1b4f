"""A model of its own that each client keeps beside the common one; algorithms of personalisation share it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hansa.strategies.keys import Context
from hansa.strategies.pipeline import Names
from hansa.strategies.types import Array, Tree
from hansa.strategies.work import PRIVATE, Trainer, Work

OWN, BEGUN = "own", "own.begun"
"""The client states: its own shared parameters v_k, and whether it has any yet."""


def own_model(states: Tree, model_P: Array) -> Array:
    """Return each client's own model, (B, P): the common one where it has none yet."""
    return np.where(states[BEGUN] > 0, states[OWN], model_P)


def own_after(states: Tree, own_BP: Array, private_BQ: Array) -> dict[str, Array]:
    """Return the states with these models."""
    return {PRIVATE: private_BQ, OWN: own_BP.astype(np.float32), BEGUN: np.ones_like(states[BEGUN])}


@dataclass(frozen=True, kw_only=True)
class OwnModelWork(Work):
    """The base of works with an own model, of which a client that was never asked has none."""

    def start(self, trainer: Trainer, parameters: int, names: Names) -> dict[str, Array]:
        none = np.zeros((len(names), 1), np.float32)
        return {PRIVATE: trainer.private(names), OWN: np.zeros((len(names), parameters), np.float32), BEGUN: none}


@dataclass(frozen=True, kw_only=True)
class EvaluatingOwn(OwnModelWork):
    """Evaluate each client's own model on its test data."""

    def run(
        self, trainer: Trainer, payload: Tree, states: Tree, names: Names, ctx: Context
    ) -> tuple[dict[str, Array], dict[str, Array]]:
        return trainer.evaluate(own_model(states, payload["model"]), states[PRIVATE], names), dict(states)
