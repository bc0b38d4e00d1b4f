"""Laws of whole strategies: block, order, absence, state, mirror, limit."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from hansa.strategies.laws.loop import Step, handed, play
from hansa.strategies.laws.pieces import check_encoding, check_influence, check_merge, check_screen
from hansa.strategies.laws.tree import copied, demand, demand_same
from hansa.strategies.laws.world import Quadratic
from hansa.strategies.spec import Cohort
from hansa.strategies.strategy import Endpoint, Problem, Request, State, Strategy
from hansa.strategies.types import Array

WORLD = Quadratic.of(personal=2)
"""Eight clients, with five shared and two private parameters."""


def check_strategy(strategy: Strategy, world: Quadratic = WORLD, mirrors: Mapping[str, str] | None = None) -> None:
    """Check every law that a strategy keeps, and those of its endpoints' pipelines and aggregators.

    ``mirrors`` names the entries of the strategy's state that are the mean of a state of the clients, and that state.
    """
    for end in _endpoints(strategy, world).values():
        check_encoding(end.pipeline)
        check_influence(end.pipeline)
        check_screen(end.pipeline)
        check_merge(end.aggregator, end.pipeline)
    check_block(strategy, world)
    check_order(strategy, world)
    check_absence(strategy, world)
    check_state(strategy, world)
    for server, client in (mirrors or {}).items():
        check_mirror(strategy, server, client, world)


def check_block(strategy: Strategy, world: Quadratic = WORLD) -> None:
    """A client is a block of one: blocks of 1, of 3 and of all lead to the same, to the bit."""
    whole = play(strategy, world).tree()
    for block in (1, 3):
        demand_same(whole, play(strategy, world, block=block).tree(), f"all clients at once, and blocks of {block}")


def check_order(strategy: Strategy, world: Quadratic = WORLD) -> None:
    """Replies that arrive in another order lead to the same, to the bit."""
    first = play(strategy, world).tree()
    for order in (1, 2, 3):
        demand_same(first, play(strategy, world, order=order).tree(), f"arrival in order, and shuffled ({order})")


def check_absence(strategy: Strategy, world: Quadratic = WORLD) -> None:
    """A client whose replies are lost is as one that was never asked: nobody else moves, to the bit."""
    gone = world.names[1]
    lose = [(number, gone) for number in (1, 2, 3)]
    rest = tuple(name for name in world.names if name != gone)
    lost = play(strategy, world, lose=lose)
    never = play(strategy, world, lose=lose, cohort=rest, expected=len(world.names))
    demand_same(lost.tree(), never.tree(), f"the replies of {gone} lost, and {gone} never asked")


def check_state(strategy: Strategy, world: Quadratic = WORLD) -> None:
    """A round is a pure function: the same state and answers give the same requests and the same next state.

    The state is a plain tree of arrays with a float32 ``model``; it lives on through bytes. Played again in any order,
    rounds repeat; neither the state nor what a request carries is changed in place.
    """
    steps = play(strategy, world).steps
    start = _shape(np.zeros(world.parameters, np.float32))
    demand_same(start, _shape(steps[-1].after["model"]), "the model before and after rounds")
    for step in (*reversed(steps), *steps):
        copied(step.after, "the state that a round returns")
        _replay(strategy, step)


def check_mirror(strategy: Strategy, server: str, client: str, world: Quadratic = WORLD) -> None:
    """Clients' states move by what was sent and counted: the server's entry is their mean, to float32's rounding.

    Some replies are lost on the way. A client that was never counted has a state of zeros.
    """
    rounds = 6
    lose = [(number, world.names[number % 3]) for number in range(1, rounds)]
    played = play(strategy, world, rounds, lose=lose)
    states = [state[client].astype(np.float64) for state in played.clients.values() if client in state]
    mean_P = np.sum(states, axis=0) / len(world.names)
    gap = float(np.abs(mean_P - played.steps[-1].after[server]).max())
    allowed = 2.0**-22 * rounds * max(1.0, float(np.abs(states).max()))
    demand(
        gap <= allowed,
        f"state {server!r} is off by {gap:.3g} from the mean of the clients' {client!r}, where rounding explains "
        f"{allowed:.3g}: do clients move by what they really sent?",
    )


def check_limit(
    strategy: Strategy, limit: Strategy, world: Quadratic = WORLD, *, cohort: int = 0, atol: float = 0.0
) -> None:
    """At its limit a strategy is a simpler one: both learn the same model in every round, to the bit or to ``atol``.

    Such as FedAvg that clips at infinity and FedAvg that does not. ``cohort`` takes the first clients only.
    """
    names = world.names[: cohort or None]
    pairs = zip(play(strategy, world, cohort=names).steps, play(limit, world, cohort=names).steps, strict=True)
    for ours, theirs in pairs:
        gap = float(np.abs(ours.after["model"] - theirs.after["model"]).max())
        demand(gap <= atol, f"round {ours.now.number}: the models differ by {gap:.3g}, where {atol:.3g} is allowed.")


def _endpoints(strategy: Strategy, world: Quadratic) -> Mapping[str, Endpoint]:
    cohort = Cohort(expected=len(world.names), max=len(world.names))
    return strategy.endpoints(Problem(parameters=world.parameters, cohort=cohort, buffers=world.buffers))


def _replay(strategy: Strategy, step: Step) -> None:
    """Play a recorded round again with the recorded answers."""
    what = f"round {step.now.number} played again"
    state, answers = copied(step.before, "the state"), iter(step.asked)
    flow = strategy.round(state, step.now)
    released = None
    try:
        while True:
            request = next(flow) if released is None else flow.send(handed(released))
            recorded, released = next(answers, (None, None))
            _demand_request(recorded, request, what)
    except StopIteration as stop:
        after, metrics = stop.value
    demand(next(answers, None) is None, f"{what} asks less than before.")
    demand_same(step.after, after, f"the state after {what}")
    demand(repr(step.metrics) == repr(metrics), f"the metrics of {what} differ: {step.metrics}, {metrics}.")
    demand_same(step.before, state, f"the state handed in, after {what}")


def _demand_request(recorded: Request | None, request: Request, what: str) -> None:
    if recorded is None:
        raise AssertionError(f"{what} asks {request.endpoint!r} where it asked nothing before.")
    same = (recorded.endpoint, recorded.to) == (request.endpoint, request.to)
    demand(same, f"{what} asks {request.endpoint!r} of {request.to}, not {recorded.endpoint!r} of {recorded.to}.")
    demand_same(recorded.payload, request.payload, f"the payload of {request.endpoint!r} when {what}")


def _shape(model_P: Array) -> State:
    return {"model": np.zeros(model_P.shape, model_P.dtype)}
