"""Personalisation, by the equations of its papers, in float64 on parabolas."""

from __future__ import annotations

import numpy as np
import pytest

from hansa.strategies import (
    CompositionError,
    Context,
    Ditto,
    FedPer,
    FedRep,
    FineTuning,
    Ifca,
    PFedMe,
    Problem,
    Round,
    compose,
)
from hansa.strategies.laws import Quadratic, play
from hansa.strategies.own_model import BEGUN, OWN
from hansa.strategies.questions import PERSONAL
from hansa.strategies.spec import Cohort
from hansa.strategies.work import PRIVATE

WORLD = Quadratic.of(clients=3, noise=0)
A_N1, T_NP = WORLD.pull_N[:, None].astype(float), WORLD.target_NP.astype(float)
COHORT = Cohort(expected=3, max=3)
CTX = Context(round=1, public=b"p", own=b"o")


def descend(x_NP, gradient, steps=WORLD.steps):
    for _ in range(steps):
        x_NP = x_NP - WORLD.rate * gradient(x_NP)
    return x_NP


def evaluated(strategy, world, state, clients):
    """What each client's own model reaches: the loss sums by name."""
    end = strategy.endpoints(world.problem(COHORT))[PERSONAL]
    names = world.names
    start = end.work.start(world, world.parameters, names)
    states = {k: np.stack([clients.get(n, {}).get(k, v[i]) for i, n in enumerate(names)]) for k, v in start.items()}
    parts, after = end.work.run(world, state, states, names, CTX)
    assert all(np.array_equal(after[name], states[name]) for name in states), "evaluation moves no state"
    return parts["loss"] / parts["examples"]


def test_dittos_own_models_are_drawn_to_the_common_one():
    strategy, v_NP = Ditto(attraction=0.6), np.zeros((3, 5))
    played = play(strategy, WORLD)
    for step in played.steps:
        x_P = step.before["model"]
        v_NP = descend(v_NP, lambda v, x=x_P: A_N1 * (v - T_NP) + 0.6 * (v - x))
    for i, name in enumerate(WORLD.names):
        np.testing.assert_allclose(played.clients[name][OWN], v_NP[i], atol=1e-4)
    loss_N = evaluated(strategy, WORLD, played.steps[-1].after, played.clients)
    np.testing.assert_allclose(loss_N, (A_N1 / 2 * (v_NP - T_NP) ** 2).sum(1), rtol=1e-3, atol=1e-5)


def test_a_client_that_never_trained_has_the_common_model():
    played = play(Ditto(), WORLD, cohort=WORLD.names[:2])
    assert WORLD.names[2] not in played.clients
    x_P = played.model_P
    loss_N = evaluated(Ditto(), WORLD, {"model": x_P}, played.clients)
    np.testing.assert_allclose(loss_N[2], (A_N1[2] / 2 * (x_P - T_NP[2]) ** 2).sum(), rtol=1e-4)


def test_without_attraction_ditto_trains_alone_from_where_it_began():
    played, v_NP = play(Ditto(attraction=0.0, epochs=2), WORLD, 2), np.zeros((3, 5))
    v_NP = descend(v_NP, lambda v: A_N1 * (v - T_NP), 2 * 2 * WORLD.steps)
    for i, name in enumerate(WORLD.names):
        np.testing.assert_allclose(played.clients[name][OWN], v_NP[i], atol=1e-4)
        assert played.clients[name][BEGUN].tolist() == [1]


def test_pfedme_moves_the_local_model_towards_its_own_ones():
    strategy = PFedMe(local_rounds=3, steps=2, rate=0.1, attraction=2.0, lr=0.5)
    played, x_P = play(strategy, WORLD, 2), np.zeros(5)
    for step in played.steps:
        w_NP = np.repeat(x_P[None], 3, axis=0)
        for _ in range(3):
            theta_NP = descend(w_NP, lambda y, w=w_NP: A_N1 * (y - T_NP) + 2.0 * (y - w), 2)
            w_NP = w_NP - 0.1 * 2.0 * (w_NP - theta_NP)
        x_P = 0.5 * x_P + 0.5 * w_NP.mean(0)
        np.testing.assert_allclose(step.after["model"], x_P, atol=1e-4)
    for i, name in enumerate(WORLD.names):
        np.testing.assert_allclose(played.clients[name][OWN], theta_NP[i], atol=1e-4)


def test_ifcas_models_begin_apart_in_what_gradients_train_alone():
    """A count of a million has no part in the distance either: the root mean square of 3, 3 and 3 is 3."""
    model_P = np.array([3, 3, 1e6, 3], np.float32)
    now = Round(number=1, population=2, cohort=COHORT, buffers=(slice(2, 3),))
    models_KP = next(Ifca(clusters=2, spread=0.1).round({"model": model_P}, now)).payload["models"]
    assert models_KP[:, 2].tolist() == [1e6, 1e6]
    apart_KP = np.delete(models_KP, 2, axis=1) - 3
    assert apart_KP.all() and np.abs(apart_KP).max() < 4 * 0.3


def test_ifca_moves_each_model_by_the_clients_that_it_suits():
    played = play(Ifca(spread=2.0), WORLD, 3)
    for step in played.steps:
        models = step.asked[0][0].payload["models"].astype(float)
        losses = [(A_N1 / 2 * (m - T_NP) ** 2).sum(1) for m in models]
        best = np.argmin(losses, axis=0)
        after = [descend(np.repeat(m[None], 3, axis=0), lambda y: A_N1 * (y - T_NP)) for m in models]
        for j in range(2):
            moved = after[j][best == j].mean(0) if (best == j).any() else models[j]
            np.testing.assert_allclose(step.after["models"][j], moved, atol=1e-4)
        np.testing.assert_allclose(step.after["model"], step.after["models"].mean(0), atol=1e-6)
        assert step.metrics["clusters"] == len(set(best))


def test_ifca_finds_two_groups_and_their_optima():
    world = Quadratic.of(clients=8, noise=0)
    played = play(Ifca(spread=2.0), world, 60)
    sides = [np.arange(8) % 2 == side for side in (0, 1)]
    optima = [world.optimum(side.astype(np.float32)) for side in sides]
    models = played.steps[-1].after["models"]
    gaps = [[np.linalg.norm(model - optimum) for optimum in optima] for model in models]
    assert sorted(np.argmin(gaps, axis=1)) == [0, 1] and max(map(min, gaps)) < 0.5
    names = Problem(parameters=5, cohort=Cohort(expected=8, max=8), metrics=world.METRICS)
    end = Ifca().endpoints(names)[PERSONAL]
    before = end.work.start(world, world.parameters, world.names)
    parts, _ = end.work.run(world, played.steps[-1].after, before, world.names, CTX)
    common = world.evaluate(played.model_P, world.private(world.names), world.names)["loss"].sum()
    assert parts["loss"].sum() < 0.5 * common


def test_fedrep_trains_heads_first_and_then_the_body():
    world = Quadratic.of(clients=3, noise=0, personal=2)
    strategy = FedRep(head_epochs=3, body_epochs=1)
    end = strategy.endpoints(world.problem(COHORT))["train.update"]
    before = end.work.start(world, world.parameters, world.names)
    parts, after = end.work.run(world, {"model": np.zeros(5, np.float32)}, before, world.names, CTX)
    y_NP = descend(np.zeros((3, 5)), lambda y: world.pull_N[:, None] * (y - world.target_NP))
    np.testing.assert_allclose(parts["delta"], y_NP, atol=1e-4)
    assert np.abs(after[PRIVATE]).min() > 0, "heads have moved"


def test_tuning_takes_more_steps_before_it_evaluates():
    x_P = play(FineTuning(), WORLD).model_P
    y_NP = descend(np.repeat(x_P[None], 3, axis=0), lambda y: A_N1 * (y - T_NP), 2 * WORLD.steps)
    loss_N = evaluated(FineTuning(epochs=2), WORLD, {"model": x_P}, {})
    np.testing.assert_allclose(loss_N, (A_N1 / 2 * (y_NP - T_NP) ** 2).sum(1), rtol=1e-3, atol=1e-5)


def test_nothing_is_evaluated_where_nothing_is_measured():
    problem = Problem(parameters=5, cohort=COHORT)
    assert PERSONAL not in Ditto().endpoints(problem) and PERSONAL not in FineTuning().endpoints(problem)
    end = Ditto().endpoints(WORLD.problem(COHORT))[PERSONAL]
    assert end.pipeline.row == compose(end.pipeline.row, ()).row


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda: Ditto(attraction=-1.0), "strategy.attraction=-1.0: it must be at least 0"),
        (lambda: PFedMe(attraction=0.0), "strategy.attraction=0.0: it must be above 0"),
        (lambda: PFedMe(steps=0), "strategy.steps=0: it must be at least 1"),
        (lambda: Ifca(clusters=0), "strategy.clusters=0: it must be at least 1"),
        (lambda: Ifca(spread=0.0), "strategy.spread=0.0: it must be above 0"),
        (lambda: FedRep(head_epochs=0), "strategy.head_epochs=0: it must be at least 1"),
        (lambda: FineTuning(epochs=0), "strategy.epochs=0: it must be at least 1, for without tuning it is FedAvg"),
    ],
)
def test_nonsense_is_refused(make, told):
    with pytest.raises(CompositionError, match=told):
        make()


@pytest.mark.parametrize("strategy", [FedRep(), FedPer()])
def test_a_model_without_private_tensors_is_refused(strategy):
    with pytest.raises(CompositionError, match=r"private=\['4\.\*'\]"):
        strategy.endpoints(Problem(parameters=2, cohort=COHORT))


@pytest.mark.parametrize("strategy", [FedRep(), Ditto(), FineTuning(), PFedMe()])
def test_a_training_loop_of_the_tasks_own_is_refused(strategy):
    with pytest.raises(CompositionError, match=r"no train\(\) of its own"):
        strategy.endpoints(Problem(parameters=2, cohort=COHORT, training=frozenset(), private=1))
