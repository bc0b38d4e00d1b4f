"""Asking clients for the loss of a model on their training data, each for itself.

This is the cheap estimate by which a coordinator compares candidates before it chooses among them (Cho et al. 2020,
"Client selection in federated learning", arXiv:2010.01243): one pass over the data without gradients. Rows are kept, so
that the coordinator sees each client's loss_n / examples_n and examples_n.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from hansa.strategies.aggregate import ROWS, Released
from hansa.strategies.keys import Context
from hansa.strategies.pipeline import Names, compose
from hansa.strategies.spec import Channel, Cohort, Spec
from hansa.strategies.strategy import Endpoint, Request
from hansa.strategies.types import Array, Tree
from hansa.strategies.work import PRIVATE, Cost, ModelWork, Trainer

LOSSES = "query.training_loss"
CHANNELS = ("loss", "examples", "weight")

Losses: TypeAlias = dict[str, tuple[float, float | None]]
"""The mean loss and the number of examples by client: 0 where it has none, None where rows do not tell it."""


@dataclass(frozen=True, kw_only=True)
class Measuring(ModelWork):
    """Measure the loss of the payload's ``model`` on local training data."""

    def cost(self, payload: Tree) -> Cost:
        return Cost(losses=1)

    def run(
        self, trainer: Trainer, payload: Tree, states: Tree, names: Names, ctx: Context
    ) -> tuple[dict[str, Array], dict[str, Array]]:
        return trainer.losses(payload["model"], states[PRIVATE], names), dict(states)


def losses_endpoint(cohort: Cohort) -> Mapping[str, Endpoint]:
    """Return the endpoint that a coordinator adds where it asks for losses."""
    channels = (Channel(name="examples", cap=2.0**31, nonnegative=True), Channel(name="loss", cap=2.0**31))
    pipeline = compose(Spec(channels=channels, cohort=cohort), ())
    return {LOSSES: Endpoint(work=Measuring(), pipeline=pipeline, aggregator=ROWS)}


def ask_losses(payload: Tree, names: Names, most: int) -> Generator[Request, Released, Losses]:
    """Ask these clients, at most so many in one request, for the loss of the payload's ``model``.

    Returns those who answered. Raises RoundLost where too few did.
    """
    found: Losses = {}
    for start in range(0, len(names), most):
        request = Request(endpoint=LOSSES, payload=payload, to=names[start : start + most])
        found |= by_client((yield request))
    return found


def by_client(released: Released) -> Losses:
    """Take apart rows that were kept, with the channel ``loss``: a sum over ``examples`` where these are told, else the
    mean, which may be multiplied by a ``weight``."""
    groups = np.flatnonzero(released.count_G)
    told = {name: sums[groups].reshape(-1) for name, sums in released.sums.items() if name in CHANNELS}
    over_N = told.get("examples", told.get("weight", np.ones(len(groups))))
    loss_N = np.divide(told["loss"], over_N, out=np.zeros(len(groups)), where=over_N > 0)
    examples_N = told["examples"].tolist() if "examples" in told else [None] * len(groups)
    return dict(zip(released.names, zip(loss_N.tolist(), examples_N, strict=True), strict=True))
