"""A round is a generator of requests; a strategy is what endpoints it needs and how its rounds go."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from dataclasses import dataclass
from typing import Literal, Protocol, TypeAlias

from hansa.strategies.aggregate import ROWS, SUM, Aggregator, Released, Totals
from hansa.strategies.keys import Context
from hansa.strategies.pipeline import Names, Pipeline
from hansa.strategies.spec import Channel, Cohort
from hansa.strategies.types import Array, Slices, Tree
from hansa.strategies.work import ClientWork, Trainer

State: TypeAlias = dict[str, Array]
"""What a strategy remembers between rounds; ``state["model"]`` is the model's shared parameters, float32."""

Metrics: TypeAlias = dict[str, float]
Address: TypeAlias = Names | Literal["cohort", "counted", "everyone"]
"""Whom a request goes to: the round's cohort, those counted so far in it, the whole population, or some by name."""


@dataclass(frozen=True, kw_only=True)
class Endpoint:
    """Something that clients can be asked to do; both sides build it from the same configuration.

    Where several requests of a round need one and the same local work, ``keep`` lets a client do it once and encode
    its row anew for each request, of this endpoint or of another whose work is equal.
    """

    work: ClientWork
    pipeline: Pipeline
    aggregator: Aggregator = SUM
    keep: bool = False

    def run(self, trainer: Trainer, payload: Tree, states: Tree, names: Names, ctx: Context) -> tuple[Array, State]:
        """Do the work of B clients; return rows_BD as they are before any transform, and the states that follow."""
        parts, after = self.work.run(trainer, payload, states, names, ctx)
        return self.pipeline.row.pack(parts, len(names)), after

    def encode(self, rows_BD: Array, after: Tree, names: Names, ctx: Context) -> tuple[Array, State]:
        """Put rows on the wire; return them and the states, advanced by the rows as they were really sent."""
        wire_BD = self.pipeline.encode(rows_BD, names, ctx)
        if not self.work.advances:
            return wire_BD, dict(after)
        return wire_BD, self.work.advance(after, self._sent(wire_BD, names, ctx))

    def _sent(self, wire_BD: Array, names: Names, ctx: Context) -> Tree:
        alone = ROWS.empty(self.pipeline.wire, names)
        for group, (name, row_D) in enumerate(zip(names, wire_BD, strict=True)):
            alone.add(name, row_D, group)
        return self.pipeline.row.unpack(self.pipeline.decode(alone.sum_GD, ctx))

    def release(self, totals: Totals, ctx: Context) -> Released:
        """Decode totals for the strategy; they are used up."""
        return Released.of(totals, self.pipeline, self.aggregator, ctx)


def trains(endpoint: str) -> bool:
    """Whether requests of this endpoint are to train, as its name says."""
    return endpoint.startswith("train.")


def keeper(endpoints: Mapping[str, Endpoint], name: str) -> str:
    """Return under which endpoint's name clients keep this one's rows: those of equal work in equal form are shared."""
    work, form = endpoints[name].work, endpoints[name].pipeline.row
    return min(other for other, one in endpoints.items() if one.keep and (one.work, one.pipeline.row) == (work, form))


@dataclass(frozen=True, kw_only=True)
class Request:
    """What a strategy asks: an endpoint, a payload for all, and whom."""

    endpoint: str
    payload: Tree
    to: Address = "cohort"


@dataclass(frozen=True, kw_only=True)
class Problem:
    """What endpoints are built from.

    ``parameters`` counts the shared ones, ``private`` those that stay with each client. ``training`` says what local
    training can do: ``"corrects"`` where it follows a `Plan`, ``"sgd"`` where its steps are plain SGD, ``"contrasts"``
    where its model has representations to contrast. ``metrics`` are the channels of an evaluation, for strategies that
    evaluate a client's own model beside the common one. ``buffers`` is where the shared vector holds what no gradient
    moves, such as BatchNorm's statistics. ``names`` are the clients there are; None until that is known.
    """

    parameters: int
    cohort: Cohort
    training: frozenset[str] = frozenset({"corrects", "sgd", "contrasts"})
    private: int = 0
    metrics: tuple[Channel, ...] = ()
    buffers: Slices = ()
    names: Names | None = None


@dataclass(frozen=True, kw_only=True)
class Round:
    """What a round knows of itself: its number from 1, how many clients there are, the cohort's numbers, and the
    problem's ``buffers``."""

    number: int
    population: int
    cohort: Cohort
    buffers: Slices = ()


Flow: TypeAlias = Generator[Request, Released, tuple[State, Metrics]]


class Strategy(Protocol):
    """How a federation learns. ``round`` is pure: no clock, no I/O, no entropy, no globals."""

    def endpoints(self, problem: Problem) -> Mapping[str, Endpoint]:
        """Return endpoints by message type, such as ``train.update``; raises CompositionError for nonsense.

        It is asked when the configuration is read, and again before round 1, when it is known who is there.
        """
        ...

    def init(self, model_P: Array) -> State:
        """Return the state before the first round."""
        ...

    def round(self, state: State, now: Round) -> Flow:
        """Yield requests, receive what they released, and return the next state and the round's metrics."""
        ...
