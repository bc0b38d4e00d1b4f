"""FedNova, q-FedAvg and tilted ERM: by hand from the papers' equations, over whole runs, and at their extremes."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
import pytest

from hansa.strategies import (
    Afl,
    Cohort,
    CompositionError,
    Context,
    FedAvg,
    FedNova,
    Problem,
    QFedAvg,
    Round,
    RoundLost,
    SumError,
    Term,
    Trained,
    laws,
    tilt,
)
from hansa.strategies.work import PLAIN, mean_losses

CTX = Context(round=1, public=b"p", own=b"o")
COHORT = Cohort(expected=2, max=2)
NAMES = ("a", "b")
WEIGHING = (FedNova(), Afl(), QFedAvg(), QFedAvg(q=0.5), Term(), Term(t=1e3), Term(weighting="uniform"))


@dataclass(kw_only=True)
class Given:
    """A trainer of two clients, whose answers are given."""

    delta: list
    before: tuple = (1.0, 3.0)
    travel: tuple = (0.1, 0.1)
    examples: tuple = (1, 3)

    def private(self, names):
        return np.zeros((2, 0), np.float32)

    def losses(self, model_P, private_BQ, names):
        return {"loss": np.array(self.before, np.float32), "examples": np.ones(2, np.float32)}

    def train(self, model_P, private_BQ, names, ctx, plan=PLAIN):
        return Trained(
            delta_BP=np.array(self.delta, np.float32),
            private_BQ=private_BQ,
            examples_B=np.array(self.examples, np.float32),
            loss_B=np.ones(2, np.float32),
            travel_B=np.array(self.travel),
        )


def learned(strategy, trainer, buffers=(), **state):
    """The state after one round of the two clients."""
    parameters = len(trainer.delta[0])
    before = strategy.init(np.zeros(parameters, np.float32)) | state
    ((_, end),) = strategy.endpoints(Problem(parameters=parameters, cohort=COHORT, buffers=buffers)).items()
    flow = strategy.round(before, Round(number=1, population=2, cohort=COHORT, buffers=buffers))
    rows_BD, after = end.run(trainer, next(flow).payload, end.work.start(trainer, parameters, NAMES), NAMES, CTX)
    wire_BD, _ = end.encode(rows_BD, after, NAMES, CTX)
    totals = end.aggregator.empty(end.pipeline.wire, NAMES)
    for name, row_D in zip(NAMES, wire_BD, strict=True):
        totals.add(name, row_D, 0)
    with pytest.raises(StopIteration) as stop:
        flow.send(end.release(totals, CTX))
    after, metrics = stop.value.value
    assert metrics == {"train_loss": 1.0} and all(array.dtype == np.float32 for array in after.values())
    return after


def test_fednova_averages_directions_and_goes_the_mean_way():
    """d / s = 10 and 20, s = (0.1 + 3 * 0.3) / 4 = 0.25; x = 0.25 * (10 + 3 * 20) / 4. The buffer: (2 + 3 * 6) / 4."""
    trainer = Given(delta=[[1.0, 2.0], [6.0, 6.0]], travel=(0.1, 0.3))
    state = learned(FedNova(), trainer, buffers=(slice(1, 2),))
    assert state["model"] == pytest.approx([4.375, 5.0], rel=1e-6)
    uniform = learned(FedNova(lr=0.5, weighting="uniform"), trainer)
    assert uniform["model"] == pytest.approx([0.5 * 0.2 * 15, 0.5 * 0.2 * 20], rel=1e-6)


def test_fednova_without_steps_stands():
    assert learned(FedNova(), Given(delta=[[0.0], [0.0]], travel=(0.0, 0.0)))["model"].tolist() == [0.0]
    one = learned(FedNova(), Given(delta=[[0.0], [6.0]], travel=(0.0, 0.3), examples=(0, 3)))
    assert one["model"] == pytest.approx([6.0], rel=1e-6), "who has no examples weighs nothing"


class Uneven(laws.Quadratic):
    """Clients that take 1, 4, 7, 10, 1, ... steps."""

    def train(self, model_P, private_BQ, names, ctx, plan=PLAIN):
        alone = [
            laws.Quadratic.train(
                replace(self, steps=1 + 3 * (int(name[1:]) % 4)), model_P, private_BQ[[i]], (name,), ctx, plan.of(i)
            )
            for i, name in enumerate(names)
        ]
        return Trained(**{field: np.concatenate([vars(one)[field] for one in alone]) for field in vars(alone[0])})


def test_fednova_keeps_the_laws_with_uneven_steps():
    laws.check_strategy(FedNova(), Uneven.of(personal=2))


def test_fednova_finds_the_optimum_of_uneven_clients_and_fedavg_does_not():
    world = Uneven.of(noise=0.0, rate=2e-3)
    optimum_P = world.optimum(world.examples_N)
    gaps = [np.abs(laws.play(one, world, 1000).model_P - optimum_P).max() for one in (FedNova(), FedAvg())]
    assert gaps[0] < 0.05 < 0.5 < gaps[1]


def test_fednova_refuses_what_is_not_plain_sgd():
    with pytest.raises(CompositionError, match=r"FedNova divides by the steps of plain SGD: set client\.optimiser=sgd"):
        FedNova().endpoints(Problem(parameters=2, cohort=COHORT, training=frozenset({"corrects"})))


def test_afl_refuses_rounds_that_ask_some_of_the_clients():
    problem = Problem(parameters=2, cohort=COHORT, names=("a", "b"))
    assert Afl().endpoints(problem).keys() == {"train.agnostic"}
    with pytest.raises(CompositionError, match="a round asks 2 of 3: set cohort=everyone, or choose term"):
        Afl().endpoints(replace(problem, names=("a", "b", "c")))


@pytest.mark.parametrize("q", [0.0, 0.5, 1.0, 2.0])
@pytest.mark.parametrize("level", [0.0, 1.5])
def test_qfedavg_is_the_algorithm_of_the_paper(q, level):
    """D_i and h_i as algorithm 2 has them; a common level changes nothing."""
    lipschitz, loss_B, delta_BP = 4.0, np.array([1.0, 3.0]), np.array([[1.0, 2.0], [-1.0, 0.5]])
    up_BP = loss_B[:, None] ** q * lipschitz * delta_BP
    h_B = q * loss_B ** (q - 1) * (lipschitz**2 * delta_BP**2).sum(axis=1) + lipschitz * loss_B**q
    trainer = Given(delta=delta_BP.tolist())
    state = learned(QFedAvg(q=q, lipschitz=lipschitz), trainer, level=np.full(1, level, np.float32))
    assert state["model"] == pytest.approx(up_BP.sum(axis=0) / h_B.sum(), rel=1e-5)


def test_qfedavg_averages_buffers_and_leaves_them_out_of_the_norm():
    alone = learned(QFedAvg(), Given(delta=[[1.0], [2.0]]))
    both = learned(QFedAvg(), Given(delta=[[100.0, 1.0], [300.0, 2.0]]), buffers=(slice(0, 1),))
    assert both["model"].tolist() == [200.0, *alone["model"].tolist()]


def test_term_weighs_by_the_exponential_of_the_loss():
    """t = log 2, F = 1 and 3: e = 2 and 8; x = (2 * 1 + 8 * 5) / 10, or by examples (2 * 1 + 3 * 8 * 5) / 26."""
    trainer, t = Given(delta=[[1.0, 1.0], [5.0, 5.0]]), math.log(2)
    uniform = learned(Term(t=t, weighting="uniform"), trainer)
    assert uniform["model"] == pytest.approx([4.2, 4.2], rel=1e-6)
    assert uniform["level"] == pytest.approx([math.log2(5)], rel=1e-6)
    weighed = learned(Term(t=t), trainer, buffers=(slice(1, 2),), level=np.full(1, 2.0, np.float32))
    assert weighed["model"] == pytest.approx([122 / 26, 4.0], rel=1e-6)
    assert weighed["level"] == pytest.approx([math.log2(26 / 4)], rel=1e-6)


@pytest.mark.parametrize("strategy", [Term(t=1e3), Term(t=1e30), QFedAvg(q=15.0), QFedAvg(q=0.1), Term(), QFedAvg()])
@pytest.mark.parametrize("before", [(6e4, 1.0), (6e4, 6e4), (0.0, 0.0), (0.0, 6e4), (1e-30, 1e-3), (-5.0, 5.0)])
@pytest.mark.parametrize("level", [0.0, -11.5, 6e4])
def test_weights_are_finite_at_extreme_losses(strategy, before, level):
    state = {"level": np.full(1, level, np.float32)}
    for _ in range(3):
        state = learned(strategy, Given(delta=[[0.5], [1.0]], before=before), level=state["level"])
        assert 0 < state["model"][0] <= 1.0 and np.isfinite(state["level"]).all()


def test_the_level_comes_up_to_the_worst_and_falls_at_once():
    level_1, t, value_B = np.zeros(1, np.float32), 10.0, np.array([1.0, 2.0, 9.0])
    for _ in range(12):
        mean = float(tilt.tilted(t, value_B, level_1).mean())
        level_1 = tilt.releveled(t, level_1, mean, 4.0)
    assert level_1[0] == pytest.approx(9.0 - math.log(3) / t, abs=1e-3), "the tilted mean of the three"
    low_B = tilt.tilted(t, value_B - 8, level_1)
    assert tilt.releveled(t, level_1, float(low_B.mean()), -4.0).tolist() == [-4.0]


DIVERGED = {"delta": [[np.nan], [1.0]]}


@pytest.mark.parametrize(
    ("strategy", "bad"),
    [
        *[(strategy, DIVERGED) for strategy in WEIGHING],
        *[(strategy, {"before": (loss, 1.0)}) for strategy in WEIGHING[1:] for loss in (np.nan, np.inf)],
    ],
)
def test_a_client_that_is_not_finite_is_refused(strategy, bad):
    with pytest.raises(SumError, match="training diverged"):
        learned(strategy, Given(**{"delta": [[1.0], [1.0]], **bad}))


@pytest.mark.parametrize("strategy", WEIGHING)
def test_a_zero_update_moves_nothing(strategy):
    assert learned(strategy, Given(delta=[[0.0], [0.0]]))["model"].tolist() == [0.0]


@pytest.mark.parametrize("strategy", [FedNova(), Term(), Term(t=0.0)])
def test_weights_of_zero_lose_the_round(strategy):
    with pytest.raises(RoundLost, match="no client has training examples"):
        learned(strategy, Given(delta=[[1.0], [1.0]], examples=(0, 0)))


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: FedNova(weighting="sizes"), r"strategy\.weighting='sizes': it is one of"),
        (lambda: Term(weighting="sizes"), r"strategy\.weighting='sizes': it is one of"),
        (lambda: Term(t=-1.0), r"strategy\.t=-1\.0: it must be at least 0"),
        (lambda: Term(t=math.inf), r"strategy\.t=inf: it must be a finite number"),
        (lambda: Afl(gamma=-0.1), r"strategy\.gamma=-0\.1: it must be at least 0, which is FedAvg"),
        (lambda: QFedAvg(q=math.nan), r"strategy\.q=nan: it must be at least 0"),
        (lambda: QFedAvg(lipschitz=0.0), r"strategy\.lipschitz=0\.0: it must be above 0"),
    ],
)
def test_settings_that_make_no_sense_are_refused(make, words):
    with pytest.raises(CompositionError, match=words):
        make()


WORLD = laws.Quadratic.of(noise=0.0, steps=1, rate=0.02)


def test_afl_steps_in_the_model_and_in_the_mixture_at_once():
    """Both from where they were; the mixture by what paper and simplex have in common, its ratios."""
    gamma, x_P, mixture_N1 = 0.02, np.zeros(5), np.ones((8, 1)) / 8
    for step in laws.play(Afl(gamma=gamma), WORLD, 5).steps:
        away_NP = WORLD.pull_N[:, None] * (x_P - WORLD.target_NP)
        loss_N1 = (away_NP * (x_P - WORLD.target_NP)).sum(1, keepdims=True) / 2
        x_P = x_P - WORLD.rate * (mixture_N1 * away_NP).sum(0)
        mixture_N1 = mixture_N1 * np.exp(gamma * loss_N1)
        mixture_N1 /= mixture_N1.sum()
        np.testing.assert_allclose(step.after["model"], x_P, atol=1e-4)


def losses(strategy, rounds=400):
    model_P = laws.play(strategy, WORLD, rounds).model_P
    return mean_losses(WORLD, model_P, np.zeros((8, 0), np.float32), WORLD.names)


def test_fair_weights_help_the_worst_and_even_out_losses():
    plain, some, more, powered = (
        losses(one)
        for one in (
            FedAvg(weighting="uniform"),
            Term(t=0.1, weighting="uniform"),
            Term(t=2.0, weighting="uniform", lr=0.05),
            QFedAvg(q=5.0, lipschitz=1 / WORLD.rate),
        )
    )
    assert plain.max() > some.max() > more.max() and plain.max() > powered.max()
    assert plain.std() > powered.std() and plain.std() > more.std()


@pytest.mark.parametrize(("strategy", "rounds"), [(Term(t=20.0), 1500), (Afl(gamma=0.005), 3000)])
def test_a_steep_tilt_and_a_learnt_mixture_are_minimax(strategy, rounds):
    """Of two parabolas a/2 (x - s)^2, b/2 (x - u)^2, the larger is least where both are equal."""
    world = laws.Quadratic(
        pull_N=np.array([1.0, 4.0], np.float32),
        target_NP=np.array([[-3.0], [3.0]], np.float32),
        examples_N=np.array([90, 1]),
        steps=1,
        rate=0.002,
        noise=0.0,
    )
    model_P = laws.play(strategy, world, rounds).model_P
    assert model_P == pytest.approx([1.0], abs=0.05), "x + 3 = 2 (3 - x)"
