"""Algorithms against client drift, by the equations of their papers, in float64 on parabolas."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from hansa.strategies import (
    CompositionError,
    FedAvg,
    FedCM,
    FedDyn,
    FedProx,
    Moon,
    Problem,
    Released,
    Robust,
    Round,
    Scaffold,
)
from hansa.strategies.laws import Quadratic, play
from hansa.strategies.spec import Cohort

WORLD = Quadratic.of(clients=3, noise=0)
A_N1, T_NP = WORLD.pull_N[:, None].astype(float), WORLD.target_NP.astype(float)
COHORT = Cohort(expected=2, max=4)
ETA, STEPS = WORLD.rate, WORLD.steps


def descend(x_NP, gradient):
    """Take a round's steps of y <- y - eta gradient(y) for all clients."""
    for _ in range(STEPS):
        x_NP = x_NP - ETA * gradient(x_NP)
    return x_NP


def start(x_P):
    return np.repeat(x_P[None], 3, axis=0)


def test_fedprox_pulls_each_step_back_to_the_rounds_model():
    x_P, weight_N1 = np.zeros(5), WORLD.examples_N[:, None] / WORLD.examples_N.sum()
    for step in play(FedProx(mu=0.7), WORLD).steps:
        y_NP = descend(start(x_P), lambda y, x=x_P: A_N1 * (y - T_NP) + 0.7 * (y - x))
        x_P = x_P + (weight_N1 * (y_NP - x_P)).sum(0)
        np.testing.assert_allclose(step.after["model"], x_P, atol=1e-4)


def test_feddyn_regularises_by_the_last_gradients():
    alpha, x_P, h_P, g_NP = 0.4, np.zeros(5), np.zeros(5), np.zeros((3, 5))
    for step in play(FedDyn(alpha=alpha), WORLD).steps:
        y_NP = descend(start(x_P), lambda y, x=x_P, g=g_NP: A_N1 * (y - T_NP) - g + alpha * (y - x))
        g_NP = g_NP - alpha * (y_NP - x_P)
        h_P = h_P - alpha / 3 * (y_NP - x_P).sum(0)
        x_P = y_NP.mean(0) - h_P / alpha
        np.testing.assert_allclose(step.after["model"], x_P, atol=1e-4)
        np.testing.assert_allclose(step.after["h"], h_P, atol=1e-4)


def test_feddyn_averages_buffers():
    strategy, model_P = FedDyn(alpha=0.5), np.zeros(3, np.float32)
    sums = {"delta": np.array([[2.0, 4.0, 6.0]]), "loss": np.array([1.0])}
    flow = strategy.round(strategy.init(model_P), Round(number=1, population=4, cohort=COHORT, buffers=(slice(1, 2),)))
    next(flow)
    with pytest.raises(StopIteration) as stop:
        flow.send(Released(sums=sums, count_G=np.array([2]), names=("a", "b")))
    state, _ = stop.value.value
    assert state["h"].tolist() == [-0.25, 0.0, -0.75]
    assert state["model"].tolist() == [1.0 + 0.5, 2.0, 3.0 + 1.5]


def test_fedcm_mixes_the_last_direction_into_every_step():
    alpha, x_P, m_P = 0.25, np.zeros(5), np.zeros(5)
    for step in play(FedCM(alpha=alpha), WORLD).steps:
        y_NP = descend(start(x_P), lambda y, m=m_P: alpha * A_N1 * (y - T_NP) + (1 - alpha) * m)
        m_P = -(y_NP - x_P).mean(0) / (ETA * STEPS)
        x_P = y_NP.mean(0)
        np.testing.assert_allclose(step.after["model"], x_P, atol=1e-4)
        np.testing.assert_allclose(step.after["momentum"], m_P, atol=1e-4)


def test_moon_contrasts_the_rounds_model_with_the_clients_last_one():
    """The gradient of -mu log(e^a / (e^a + e^b)), a and b cosines by t, is taken by finite differences."""
    mu, t, world = 3.0, 0.5, Quadratic.of(clients=2, noise=0, steps=1)
    strategy = Moon(mu=mu, temperature=t, weighting="uniform")
    first, second = play(strategy, world, 2).steps
    x_P, last_NP = first.after["model"].astype(float), -world.rate * world.pull_N[:, None] * -world.target_NP

    def cosine(a, b):
        return a @ b / np.linalg.norm(a) / np.linalg.norm(b)

    def term(y, i):
        near, far = np.exp(cosine(y, x_P) / t), np.exp(cosine(y, last_NP[i]) / t)
        return -mu * np.log(near / (near + far))

    moved = []
    for i in range(2):
        by = [(term(x_P + e, i) - term(x_P - e, i)) / 2e-5 for e in 1e-5 * np.eye(5)]
        gradient = world.pull_N[i] * (x_P - world.target_NP[i]) + np.array(by)
        moved.append(-world.rate * gradient)
    np.testing.assert_allclose(second.after["model"] - x_P, np.mean(moved, axis=0), atol=1e-4)


@pytest.mark.parametrize("option", [1, 2])
def test_scaffold_corrects_by_either_option(option):
    x_P, c_P, c_NP = np.zeros(5), np.zeros(5), np.zeros((3, 5))
    for step in play(Scaffold(option=option), WORLD).steps:
        y_NP = descend(start(x_P), lambda y, c=c_P, own=c_NP: A_N1 * (y - T_NP) - own + c)
        at_x = A_N1 * (x_P - T_NP)
        new_NP = at_x if option == 1 else c_NP - c_P + (x_P - y_NP) / (ETA * STEPS)
        c_P = c_P + (new_NP - c_NP).sum(0) / 3
        c_NP, x_P = new_NP, y_NP.mean(0)
        np.testing.assert_allclose(step.after["model"], x_P, atol=1e-4)
        np.testing.assert_allclose(step.after["control"], c_P, atol=1e-4)


def test_worker_momentum_sends_a_running_mean_that_begins_at_the_first_update():
    """The last two parameters stand for buffers, which are sent as they are."""
    beta, x_P, m_NP = 0.75, np.zeros(5), None
    world = replace(WORLD, buffers=(slice(3, 5),))
    for step in play(Robust(groups=1, worker_momentum=beta), world, 4).steps:
        d_NP = descend(start(x_P), lambda y: A_N1 * (y - T_NP)) - x_P
        m_NP = d_NP if m_NP is None else (1 - beta) * d_NP + beta * m_NP
        x_P = x_P + np.concatenate([m_NP.mean(0)[:3], d_NP.mean(0)[3:]])
        np.testing.assert_allclose(step.after["model"], x_P, atol=1e-4)


@pytest.mark.parametrize("strategy", [FedDyn(alpha=1.0), Scaffold(), Scaffold(option=1)])
def test_where_clients_disagree_drift_is_undone(strategy):
    world = Quadratic.of(clients=4, noise=0)
    off = np.linalg.norm(play(FedAvg(weighting="uniform"), world, 60).model_P - world.optimum())
    ours = np.linalg.norm(play(strategy, world, 60).model_P - world.optimum())
    assert off > 0.3 and ours < 0.05 * off


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda: FedProx(mu=-1.0), "strategy.mu=-1.0: it must be at least 0"),
        (lambda: Scaffold(option=3), "strategy.option=3: SCAFFOLD has options 1 and 2"),
        (lambda: Moon(mu=-1.0), "strategy.mu=-1.0: it must be at least 0"),
        (lambda: Robust(worker_momentum=1.0), "strategy.worker_momentum=1.0: it must be at least 0 and below 1"),
        (lambda: Moon(temperature=0.0), "strategy.temperature=0.0: it must be above 0"),
        (lambda: FedDyn(alpha=0.0), "strategy.alpha=0.0: it must be above 0, such as 0.1"),
        (lambda: FedCM(alpha=1.5), "strategy.alpha=1.5: the share of a client's own gradient"),
    ],
)
def test_nonsense_is_refused(make, told):
    with pytest.raises(CompositionError, match=told):
        make()


@pytest.mark.parametrize("strategy", [FedProx(), FedDyn(), FedCM(), Moon()])
def test_a_training_loop_of_the_tasks_own_is_refused(strategy):
    problem = Problem(parameters=2, cohort=Cohort(expected=2, max=4), training=frozenset())
    with pytest.raises(CompositionError, match=r"no train\(\) of its own"):
        strategy.endpoints(problem)
