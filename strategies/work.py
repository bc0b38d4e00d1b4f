"""What clients do when they are asked, batch first: a remote client is a block of one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Protocol

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


class Trainer(Protocol):
    """What a place can do with a model and the data of the clients that live there."""

    def private(self, names: Names) -> Array:
        """Return the private parameters private_BQ of a client that never trained."""
        ...

    def train(
        self, model_P: Array, private_BQ: Array, names: Names, ctx: Context, correction_BP: Array | None = None
    ) -> Trained:
        """Train from shared parameters; ``correction_BP`` is added to every gradient of a client."""
        ...

    def evaluate(self, model_P: Array, private_BQ: Array, names: Names) -> dict[str, Array]:
        """Return the sums behind each metric on local test data, channels of shape (B, *shape)."""
        ...

    def losses(self, model_P: Array, private_BQ: Array, names: Names) -> dict[str, Array]:
        """Return ``loss``, summed over local training data, and ``examples``, their number: channels of shape (B,)."""
        ...

    def query(self, query: str, names: Names) -> dict[str, Array]:
        """Return the sums behind a federated statistic of local training data, channels of shape (B, *shape)."""
        ...


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
class LocalTraining(Work):
    """Train locally from the payload's ``model``; sends delta, mean loss and, by example, the weight."""

    weighted: bool = True

    def start(self, trainer: Trainer, parameters: int, names: Names) -> dict[str, Array]:
        return {PRIVATE: trainer.private(names)}

    def run(
        self, trainer: Trainer, payload: Tree, states: Tree, names: Names, ctx: Context
    ) -> tuple[dict[str, Array], dict[str, Array]]:
        trained = trainer.train(payload["model"], states[PRIVATE], names, ctx)
        parts = {"delta": trained.delta_BP, "loss": trained.loss_B}
        if self.weighted:
            parts["weight"] = trained.examples_B
        return parts, {PRIVATE: trained.private_BQ}


@dataclass(frozen=True, kw_only=True)
class Evaluating(Work):
    """Evaluate the payload's ``model`` on local test data."""

    def start(self, trainer: Trainer, parameters: int, names: Names) -> dict[str, Array]:
        return {PRIVATE: trainer.private(names)}

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
