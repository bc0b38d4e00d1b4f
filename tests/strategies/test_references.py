"""The algorithms over whole runs, against plain float64 references a few lines long."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from hansa.strategies import Bound, FedAvg, Robust, Scaffold, laws

WORLD = laws.Quadratic.of(noise=0.0)
PULL_N1 = WORLD.pull_N[:, None].astype(np.float64)
TARGET_NP = WORLD.target_NP.astype(np.float64)


def descend(x_P, correction_NP=0.0):
    """Where plain SGD takes every client from x, shape (N, P)."""
    y_NP = np.repeat(x_P[None], len(TARGET_NP), axis=0)
    for _ in range(WORLD.steps):
        y_NP = y_NP - WORLD.rate * (PULL_N1 * (y_NP - TARGET_NP) + correction_NP)
    return y_NP


@pytest.mark.parametrize("weighting", ["examples", "uniform"])
@pytest.mark.parametrize("lr", [1.0, 0.3])
def test_fedavg_is_the_weighted_mean_of_what_clients_learned(weighting, lr):
    weight_N = WORLD.examples_N if weighting == "examples" else np.ones(len(WORLD.names))
    x_P = np.zeros(WORLD.parameters)
    for _ in range(5):
        x_P = x_P + lr * np.average(descend(x_P) - x_P, axis=0, weights=weight_N)
    learned_P = laws.play(FedAvg(weighting=weighting, lr=lr), WORLD, 5).model_P
    assert np.abs(learned_P - x_P).max() < 1e-6


def test_fedavg_over_what_was_expected_shrinks_when_clients_are_missing():
    names = WORLD.names[:6]
    fixed = laws.play(FedAvg(weighting="uniform", denominator="expected"), WORLD, 1, cohort=names, expected=8)
    free = laws.play(FedAvg(weighting="uniform"), WORLD, 1, cohort=names)
    assert np.allclose(fixed.model_P, free.model_P * 6 / 8, rtol=1e-6)


@pytest.mark.parametrize("lost", [0, 3])
def test_scaffold_is_the_algorithm_of_the_paper(lost):
    """Algorithm 1, option II, where each round the replies of some clients are lost."""
    rounds, many, travel = 10, len(WORLD.names), WORLD.steps * WORLD.rate
    gone = {r: [(r + k) % many for k in range(lost)] for r in range(1, rounds + 1)}
    x_P, c_P, c_NP = np.zeros(WORLD.parameters), np.zeros(WORLD.parameters), np.zeros(TARGET_NP.shape)
    for r in range(1, rounds + 1):
        here = [i for i in range(many) if i not in gone[r]]
        y_NP = descend(x_P, c_P - c_NP)
        next_NP = c_NP - c_P + (x_P - y_NP) / travel
        x_P, c_P = (
            x_P + (y_NP - x_P)[here].mean(axis=0),
            c_P + (next_NP - c_NP)[here].sum(axis=0) / many,
        )
        c_NP[here] = next_NP[here]
    played = laws.play(Scaffold(), WORLD, rounds, lose=[(r, WORLD.names[i]) for r in gone for i in gone[r]])
    assert np.abs(played.model_P - x_P).max() < 1e-5
    assert np.abs(played.steps[-1].after["control"] - c_P).max() < 1e-4


def test_a_client_that_is_not_counted_keeps_its_state():
    lose = [(r, "c02") for r in (2, 3)]
    one = laws.play(Scaffold(), WORLD, 1).clients
    three = laws.play(Scaffold(), WORLD, 3, lose=lose).clients
    assert np.array_equal(one["c02"]["scaffold"], three["c02"]["scaffold"])
    assert not np.array_equal(one["c03"]["scaffold"], three["c03"]["scaffold"])


def test_the_median_withstands_poison_that_moves_the_mean_far():
    poisoned_NP = WORLD.target_NP.copy()
    poisoned_NP[:3] = 50.0
    poisoned = replace(WORLD, target_NP=poisoned_NP)
    far, near = (
        np.abs(laws.play(strategy, poisoned, 5).model_P).max() for strategy in (FedAvg(weighting="uniform"), Robust())
    )
    assert far > 10 and near < 5


def test_a_clip_bounds_what_poison_can_do():
    poisoned = replace(WORLD, target_NP=np.concatenate([np.full((1, 5), 50.0, np.float32), WORLD.target_NP[1:]]))
    clipped = FedAvg(weighting="uniform", pipeline=(Bound(clip={"delta": 1.0}),))
    honest, moved = (laws.play(clipped, world, 1).model_P for world in (WORLD, poisoned))
    assert np.linalg.norm(moved - honest) <= 2 / len(WORLD.names)


def test_noise_is_keyed_by_client_and_round():
    world = laws.Quadratic.of()
    first, again, other = (laws.play(FedAvg(), world, 2, seed=seed) for seed in (1, 1, 2))
    assert np.array_equal(first.model_P, again.model_P) and not np.array_equal(first.model_P, other.model_P)
    ctx = laws.pieces.context("client", 0)
    draws = [world._noise(name, c, 4) for name in world.names for c in (ctx, replace(ctx, round=2))]
    assert len({draw.tobytes() for draw in draws}) == len(draws)
    again = world._noise("c00", replace(ctx, request=3, own=b"other"), 4)
    assert np.array_equal(world._noise("c00", ctx, 4), again)
