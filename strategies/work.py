"""What clients do when they are asked, batch first: a remote client is a block of one."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar, Literal, Protocol, runtime_checkable

import numpy as np

from hansa.strategies.keys import Context
from hansa.strategies.pipeline import Names
from hansa.strategies.types import Array, Tree


@dataclass(frozen=True, kw_only=True)
class Trained:
    """What local training of B clients brought.

    ``delta_BP`` is the change of the shared parameters, ``private_BQ`` the private ones afterwards, ``travel_B`` the
    sum of the learning rates of all steps, ``loss_B`` the mean training loss, ``examples_B`` the training examples.
    """

    delta_BP: Array
    private_BQ: Array
    examples_B: Array
    loss_B: Array
    travel_B: Array


@dataclass(frozen=True, kw_only=True)
class Plan:
    """How an algorithm wants local training to go; without settings, as the client's own say.

    ``correction`` is added to every gradient of the shared parameters x, and ``proximal`` mu adds mu (x - ``anchor``),
    whose anchor is by default where training starts. Both are (P,), or (B, P) where clients differ. ``rate`` multiplies
    the client's learning rate; ``epochs`` or ``steps``, and ``batch_size`` (0: all examples at once), take the place of
    its own. With ``only`` "shared" or "private" parameters are trained alone. ``part`` numbers the trainings of one
    round that shall draw other batches.

    ``contrast`` mu adds to the loss mu times how much closer the model's representation z of an example is to that of
    ``previous``, (P,) or (B, P), than to that of ``anchor``: -log(e^(cos(z, z_a) / t) / (e^(cos(z, z_a) / t) +
    e^(cos(z, z_p) / t))), at ``temperature`` t.
    """

    correction: Array | None = None
    proximal: float = 0.0
    anchor: Array | None = None
    rate: float = 1.0
    epochs: int | None = None
    steps: int | None = None
    batch_size: int | None = None
    contrast: float = 0.0
    temperature: float = 0.5
    previous: Array | None = None
    only: Literal["", "shared", "private"] = ""
    part: int = 0

    def purpose(self, what: str) -> str:
        """Name what the randomness of this training is for."""
        return f"{what} {self.part}" if self.part else what

    def of(self, client: int) -> Plan:
        """Return the plan of one client of a block, whose arrays are (P,)."""
        correction, anchor, previous = (
            None if v is None else row(v, client) for v in (self.correction, self.anchor, self.previous)
        )
        return replace(self, correction=correction, anchor=anchor, previous=previous)


PLAIN = Plan()


def row(value: Array, client: int) -> Array:
    """Return one client's part of what is (P,) for all, or (B, P)."""
    return value if value.ndim == 1 else np.asarray(value[client])


class Trainer(Protocol):
    """What a place can do with a model and the data of the clients that live there.

    A model is (P,) for all clients, or (B, P).
    """

    def private(self, names: Names) -> Array:
        """Return the private parameters private_BQ of a client that never trained."""
        ...

    def train(self, model: Array, private_BQ: Array, names: Names, ctx: Context, plan: Plan = PLAIN) -> Trained:
        """Train from shared and private parameters, by a plan."""
        ...

    def evaluate(self, model: Array, private_BQ: Array, names: Names) -> dict[str, Array]:
        """Return the sums behind each metric on local test data, channels of shape (B, *shape)."""
        ...

    def losses(self, model: Array, private_BQ: Array, names: Names) -> dict[str, Array]:
        """Return ``loss``, summed over local training data, and ``examples``, their number: channels of shape (B,)."""
        ...

    def query(self, query: str, names: Names) -> dict[str, Array]:
        """Return the sums behind a federated statistic of local training data, channels of shape (B, *shape)."""
        ...


def mean_losses(trainer: Trainer, model: Array, private_BQ: Array, names: Names) -> Array:
    """Return the mean loss of a model on each client's training data, (B,) in float64; 0 where there is none."""
    sums = trainer.losses(model, private_BQ, names)
    return np.asarray(sums["loss"].astype(np.float64) / np.maximum(sums["examples"], 1))


class ClientWork(Protocol):
    """What a client computes for one endpoint. All arrays have B first; states are named and stay with the client."""

    advances: ClassVar[bool]
    """Whether a state depends on what was really sent."""

    def start(self, trainer: Trainer, parameters: int, names: Names) -> dict[str, Array]:
        """Return the states of clients that were never asked."""
        ...

    def run(
        self, trainer: Trainer, payload: Tree, states: Tree, names: Names, ctx: Context
    ) -> tuple[dict[str, Array], dict[str, Array]]:
        """Return the channels of the rows and the states that follow."""
        ...

    def advance(self, states: Tree, sent: Tree) -> dict[str, Array]:
        """Return the states once it is known what of the rows was really sent, by channel."""
        ...


@dataclass(frozen=True, kw_only=True)
class Cost:
    """What a work asks of a client: ``trainings`` by their plans, and passes without gradients: ``losses`` over its
    training data and ``evaluations`` over its test data with the model, ``queries`` over its training data without."""

    trainings: tuple[Plan, ...] = ()
    losses: int = 0
    evaluations: int = 0
    queries: int = 0


@runtime_checkable
class Costed(Protocol):
    """A work that tells its cost; one that does not is a training, an evaluation or a query, as its endpoint says."""

    def cost(self, payload: Tree) -> Cost:
        """Return what the work asks of each client."""
        ...


@dataclass(frozen=True, kw_only=True)
class Work:
    """The base of works: no state, and none that depends on what was sent."""

    advances: ClassVar[bool] = False

    def start(self, trainer: Trainer, parameters: int, names: Names) -> dict[str, Array]:
        return {}

    def advance(self, states: Tree, sent: Tree) -> dict[str, Array]:
        return dict(states)


PRIVATE = "private"
"""The state that holds a client's private parameters; training moves it and evaluation reads it."""


@dataclass(frozen=True, kw_only=True)
class ModelWork(Work):
    """The base of works that need the model: their one state is the client's private parameters."""

    def start(self, trainer: Trainer, parameters: int, names: Names) -> dict[str, Array]:
        return {PRIVATE: trainer.private(names)}


@dataclass(frozen=True, kw_only=True)
class LocalTraining(ModelWork):
    """Train locally from the payload's ``model`` by a plan; sends delta, mean loss and, by example, the weight."""

    weighted: bool = True
    plan: Plan = PLAIN

    def cost(self, payload: Tree) -> Cost:
        return Cost(trainings=(self.plan,))

    def run(
        self, trainer: Trainer, payload: Tree, states: Tree, names: Names, ctx: Context
    ) -> tuple[dict[str, Array], dict[str, Array]]:
        trained = trainer.train(payload["model"], states[PRIVATE], names, ctx, self.plan)
        return update(trained, self.weighted), {PRIVATE: trained.private_BQ}


def update(trained: Trained, weighted: bool) -> dict[str, Array]:
    """Return the channels of FedAvg's rows."""
    parts = {"delta": trained.delta_BP, "loss": trained.loss_B}
    return {**parts, "weight": trained.examples_B} if weighted else parts


@dataclass(frozen=True, kw_only=True)
class Evaluating(ModelWork):
    """Evaluate the payload's ``model`` on local test data."""

    def run(
        self, trainer: Trainer, payload: Tree, states: Tree, names: Names, ctx: Context
    ) -> tuple[dict[str, Array], dict[str, Array]]:
        return trainer.evaluate(payload["model"], states[PRIVATE], names), dict(states)


@dataclass(frozen=True, kw_only=True)
class Asking(Work):
    """Answer a query of the task about local training data."""

    query: str

    def run(
        self, trainer: Trainer, payload: Tree, states: Tree, names: Names, ctx: Context
    ) -> tuple[dict[str, Array], dict[str, Array]]:
        return trainer.query(self.query, names), {}
