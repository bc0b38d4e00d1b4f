"""Federated learning in one page: play a strategy over a toy world, and keep a record of all that happened."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from hansa.strategies.aggregate import Released
from hansa.strategies.keys import Context, from_seed
from hansa.strategies.laws.tree import copied, demand, demand_same
from hansa.strategies.laws.world import Quadratic
from hansa.strategies.pipeline import Names
from hansa.strategies.spec import Cohort
from hansa.strategies.strategy import Address, Endpoint, Request, Round, State, Strategy, keeper
from hansa.strategies.types import Array, Tree

Lost = Collection[tuple[int, str]]
"""Replies that never arrive, each by its round and client."""


@dataclass(frozen=True, kw_only=True)
class Step:
    """One round as it went: the state before, each request with what it released, the state after, the metrics."""

    now: Round
    before: State
    asked: list[tuple[Request, Released]]
    after: State
    metrics: dict[str, float]


@dataclass(frozen=True, kw_only=True)
class Played:
    """A whole run: its rounds, and the states that the clients were left with, by client and name."""

    steps: list[Step]
    clients: dict[str, State]

    @property
    def model_P(self) -> Array:
        """The model that was learned, shape (P,), float32."""
        return self.steps[-1].after["model"]

    def tree(self) -> State:
        """Return all that the run led to as one plain tree, to compare runs by."""
        out: State = {}
        for step in self.steps:
            out |= {f"round {step.now.number}: {name}": value for name, value in step.after.items()}
            out |= {f"round {step.now.number}: metric {name}": np.array(v) for name, v in step.metrics.items()}
        for client, state in self.clients.items():
            out |= {f"{client}: {name}": value for name, value in state.items()}
        return out


def play(
    strategy: Strategy,
    world: Quadratic,
    rounds: int = 3,
    *,
    cohort: Names = (),
    expected: int = 0,
    block: int = 0,
    order: int = 0,
    lose: Lost = (),
    seed: int = 1,
) -> Played:
    """Play rounds of a strategy.

    ``cohort`` names the clients of every round (all by default) and ``expected`` how many it claims to be (its size),
    ``block`` says how many work at once (0: all), ``order`` seeds the shuffle in which replies arrive (0: none),
    ``lose`` names replies that do not.
    """
    cohort = cohort or world.names
    numbers = Cohort(expected=expected or len(cohort), max=len(world.names))
    endpoints = strategy.endpoints(world.problem(numbers))
    place = Place(world=world, endpoints=endpoints, cohort=cohort, block=block, order=order, lose=lose, seed=seed)
    state, steps = strategy.init(np.zeros(world.parameters, np.float32)), []
    for number in range(1, rounds + 1):
        now = Round(number=number, population=len(world.names), cohort=numbers, buffers=world.buffers)
        steps.append(place.round(strategy, state, now))
        state = steps[-1].after
    return Played(steps=steps, clients=place.states)


@dataclass(kw_only=True)
class Place:
    """Where all clients live, and the coordinator beside them."""

    world: Quadratic
    endpoints: Mapping[str, Endpoint]
    cohort: Names
    block: int
    order: int
    lose: Lost
    seed: int
    states: dict[str, State] = field(default_factory=dict)
    kept: dict[tuple[str, str], tuple[Array, State]] = field(default_factory=dict)

    def round(self, strategy: Strategy, state: State, now: Round) -> Step:
        """Drive one round's generator: answer its requests until it returns the next state."""
        self.kept, before = {}, copied(state, "the strategy's state")
        asked: list[tuple[Request, Released]] = []
        flow = strategy.round(state, now)
        try:
            request = next(flow)
            while True:
                released = self.answer(request, now.number, asked)
                asked.append((replace(request, payload=copied(request.payload, "a payload")), released))
                request = flow.send(handed(released))
        except StopIteration as stop:
            after, metrics = stop.value
        return Step(now=now, before=before, asked=asked, after=after, metrics=metrics)

    def answer(self, request: Request, number: int, asked: list[tuple[Request, Released]]) -> Released:
        """Let the addressed clients work, add up the replies that arrive, and release the total."""
        demand(request.endpoint in self.endpoints, f"a round asks {request.endpoint!r}, which is no endpoint.")
        end, names = self.endpoints[request.endpoint], self._addressed(request.to, asked)
        client, server = (self._context(number, len(asked), owner) for owner in ("client", "coordinator"))
        payload = copied(request.payload, f"the payload of {request.endpoint!r}")
        totals = end.aggregator.empty(end.pipeline.wire, names)
        for name, (row_D, after) in self._arrivals(end, request, names, client):
            if (number, name) not in self.lose:
                totals.add(name, row_D, end.aggregator.group(name, names, server))
                self.states[name] = self.states.get(name, {}) | after
        demand_same(payload, request.payload, f"the payload of {request.endpoint!r} after clients worked on it")
        return end.release(totals, server)

    def _arrivals(
        self, end: Endpoint, request: Request, names: Names, ctx: Context
    ) -> Iterator[tuple[str, tuple[Array, State]]]:
        """Each client's row as it arrives, with the state that the client stages until it knows that it was counted."""
        size = self.block or len(names)
        replies: dict[str, tuple[Array, State]] = {}
        for start in range(0, len(names), size):
            block = names[start : start + size]
            rows_BD, after = self._work(end, request, block, ctx)
            replies |= taken_apart(*end.encode(rows_BD, after, block, ctx), block)
        order = np.random.default_rng(self.order).permutation(len(names)) if self.order else range(len(names))
        return ((names[i], replies[names[i]]) for i in order)

    def _work(self, end: Endpoint, request: Request, block: Names, ctx: Context) -> tuple[Array, State]:
        """The rows of a block, of which those that an earlier request of the round kept are not made again."""
        slot = keeper(self.endpoints, request.endpoint) if end.keep else request.endpoint
        new = tuple(name for name in block if not (end.keep and (slot, name) in self.kept))
        if new:
            start = end.work.start(self.world, self.world.parameters, new)
            states = {
                state: np.stack([self.states.get(name, {}).get(state, value[i]) for i, name in enumerate(new)])
                for state, value in start.items()
            }
            before = copied(states, "the clients' states")
            made = end.run(self.world, request.payload, states, new, ctx)
            demand_same(before, states, f"the clients' states after the work of {request.endpoint!r}")
            self.kept |= {(slot, name): reply for name, reply in taken_apart(*made, new).items()}
        kept = [self.kept[slot, name] for name in block]
        return np.stack([row_D for row_D, _ in kept]), stacked([after for _, after in kept], kept[0][1])

    def _addressed(self, to: Address, asked: list[tuple[Request, Released]]) -> Names:
        if not isinstance(to, str):
            return tuple(sorted(to))
        counted = {name for _, released in asked for name in released.names}
        return {"cohort": self.cohort, "everyone": self.world.names, "counted": tuple(sorted(counted))}[to]

    def _context(self, number: int, request: int, owner: str) -> Context:
        public, own = from_seed(self.seed, "public"), from_seed(self.seed, owner)
        return Context(round=number, request=request, public=public, own=own)


def handed(released: Released) -> Released:
    """Return released sums in memory of their own, so that the record stays as it was."""
    return replace(released, sums=copied(released.sums, "released sums"), count_G=released.count_G.copy())


def taken_apart(rows_BD: Array, states: Tree, names: Names) -> dict[str, tuple[Array, State]]:
    """Give each client of a block its row and its states."""
    return {name: (rows_BD[i], {state: value[i] for state, value in states.items()}) for i, name in enumerate(names)}


def stacked(states: list[State], of: Collection[str]) -> State:
    """Put the named states of several clients together again, batch first."""
    return {name: np.stack([state[name] for state in states]) for name in of}
