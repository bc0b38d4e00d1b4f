"""Rules by hand and against references that are a few lines long, and what they withstand."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pytest

from hansa.strategies import (
    Bound,
    Cohort,
    CompositionError,
    FedAvg,
    FLTrust,
    Problem,
    Quantise,
    Released,
    Rfa,
    Robust,
    Round,
    RoundLost,
    laws,
)
from hansa.strategies.aggregate import median
from hansa.strategies.columns import ENTRIES, norms
from hansa.strategies.fltrust import trusting
from hansa.strategies.keys import stream
from hansa.strategies.rules import Bulyan, CentredClipping, GeometricMedian, Krum, Median, TrimmedMean, bucketed
from hansa.strategies.rules.distances import squared_distances
from hansa.strategies.work import PLAIN

LONG = ENTRIES // 9 + 100
"""Columns that are more than one block of nine rows or more."""


def column(*entries):
    """Rows of one entry each."""
    return np.array(entries, np.float32)[:, None]


def drawn(rows, columns, seed=0):
    return np.random.default_rng(seed).standard_normal((rows, columns), dtype=np.float32)


@pytest.mark.parametrize("rows", [1, 2, 9, 10])
def test_the_median_is_numpys_to_the_bit(rows):
    rows_GP = drawn(rows, LONG)
    assert Median()(rows_GP).tobytes() == np.median(rows_GP, axis=0).tobytes()
    assert median(rows_GP[:, :6].reshape(rows, 2, 3)).shape == (2, 3)
    assert median(rows_GP[:, 0]).shape == ()


def test_the_trimmed_mean_leaves_out_both_ends():
    assert TrimmedMean(trim=0.2)(column(4, -900, 2, 3, 100)).tolist() == [3]
    assert TrimmedMean(trim=0.07)(column(*range(99), 1e4)).tolist() == [49.5], "7 of 100, not 8"
    rows_GP = drawn(11, LONG)
    kept_GP = np.sort(rows_GP, axis=0)[3:8]
    assert np.allclose(TrimmedMean(trim=0.2)(rows_GP), kept_GP.mean(axis=0), atol=1e-6)


def test_krum_takes_the_row_that_is_nearest_to_its_neighbours():
    """With f=1 of 5 each has 2 neighbours: the scores are 5, 2, 5, 13 and some 19,000."""
    rows_GP = column(0, 1, 2, 4, 100)
    assert Krum()(rows_GP).tolist() == [1]
    assert Krum(keep=3)(rows_GP).tolist() == [1]
    assert Krum(keep=0)(rows_GP).tolist() == [1.75]
    assert (Krum(keep=0).selects(5), Krum().selects(5)) == (4, 1)
    assert Krum()(rows_GP[::-1]).tolist() == [1]


def test_krum_hands_on_the_row_itself():
    rows_GP = drawn(9, 1000)
    assert any(Krum()(rows_GP).tobytes() == row_P.tobytes() for row_P in rows_GP)


def test_bulyan_by_hand():
    """It selects 2, 3, 1, 4 and 0; three of these are nearest to their median."""
    assert Bulyan()(column(0, 1, 2, 3, 4, 5, 100)).tolist() == [2]


def plain_bulyan(rows_GP, f):
    left, chosen = [row_P.astype(np.float64) for row_P in rows_GP], []
    while len(chosen) < len(rows_GP) - 2 * f:
        near = [sorted(((a - b) ** 2).sum() for b in left if b is not a)[: max(1, len(left) - f - 2)] for a in left]
        chosen.append(left.pop(int(np.argmin([sum(one) for one in near]))))
    chosen_SP = np.array(chosen)
    order_SP = np.argsort(np.abs(chosen_SP - np.median(chosen_SP, axis=0)), axis=0)
    return np.take_along_axis(chosen_SP, order_SP[: len(chosen) - 2 * f], axis=0).mean(axis=0)


@pytest.mark.parametrize(("rows", "f"), [(3, 0), (7, 1), (8, 1), (12, 2)])
def test_bulyan_against_a_plain_reference(rows, f):
    for seed in range(10):
        rows_GP = drawn(rows, 40, seed)
        assert np.allclose(Bulyan(byzantine=f)(rows_GP), plain_bulyan(rows_GP, f), atol=1e-6)


def test_the_geometric_median_by_hand():
    """From 0 the weights are 1/5 and 1."""
    rows_GP = np.array([[3, 4], [0, 1]], np.float32)
    assert np.allclose(GeometricMedian(passes=1)(rows_GP), [0.5, 1.5])
    assert np.allclose(GeometricMedian(passes=200)(column(0, 1, 10)), [1], atol=1e-4), "on a line it is the median"


def test_the_geometric_median_is_where_unit_vectors_cancel():
    rows_GP = drawn(9, 3)
    point_P = GeometricMedian(passes=500)(rows_GP)
    unit_GP = (rows_GP - point_P) / norms(rows_GP, point_P)[:, None]
    assert np.abs(unit_GP.sum(axis=0)).max() < 1e-4


def test_centred_clipping_by_hand():
    """Around (1, 0) the rows lie 0, 4 and 3 away; two of them reach 1 far."""
    rows_GP = np.array([[1, 0], [1, 4], [4, 0]], np.float32)
    assert np.allclose(CentredClipping()(rows_GP, np.array([1, 0], np.float32)), [4 / 3, 1 / 3])
    assert np.allclose(CentredClipping(radius=0.5)(column(-9, 0, 0.25)), [-0.25 / 3])


def test_centred_clipping_begins_where_the_last_round_ended():
    strategy = Robust(rule=CentredClipping(radius=0.1))
    one, two = laws.play(strategy, laws.Quadratic.of(), 2).steps
    rows_GP = two.asked[0][1].means("delta", "count")
    assert np.array_equal(two.after["last"], strategy.rule(rows_GP, one.after["last"]))
    assert two.asked[0][0].payload.keys() == {"model"}, "clients need no more"


def test_buckets_hold_everyone_once_and_follow_the_key():
    rows_GP = drawn(7, 5)
    means_BP = bucketed(rows_GP, 3, stream(b"key", "buckets"))
    assert means_BP.shape == (3, 5) and means_BP.dtype == np.float32
    assert np.allclose((means_BP * [[3], [3], [1]]).sum(axis=0), rows_GP.sum(axis=0), atol=1e-5)
    assert np.array_equal(means_BP, bucketed(rows_GP, 3, stream(b"key", "buckets")))
    assert not np.array_equal(means_BP, bucketed(rows_GP, 3, stream(b"another", "buckets")))


def test_buckets_differ_from_round_to_round():
    world = laws.Quadratic.of()
    released = [step.asked[0][1] for step in laws.play(Robust(bucket=2), world, 2).steps]
    orders = [answer.draw("buckets").permutation(8).tolist() for answer in released]
    assert orders[0] != orders[1] and released[0].draw("other").permutation(8).tolist() != orders[0]


@pytest.mark.parametrize("rows", [6, 70])
def test_distances_tell_rows_apart_that_are_close_while_one_is_far(rows):
    """Rows of 200,000 entries about 1e-4 apart, beside one whose entries are 60,000 times as large as theirs."""
    rows_GP = 1 + 1e-4 * drawn(rows, 200_000)
    rows_GP[1] = rows_GP[0] + np.float32(1e-4)
    rows_GP[2] *= 6e4
    exact_GG = np.array([norms(rows_GP, row_P.astype(np.float64)) ** 2 for row_P in rows_GP])
    assert np.allclose(squared_distances(rows_GP), exact_GG, rtol=1e-9, atol=0)
    assert 0.0019 < exact_GG[0, 1] < 0.0021 < 0.003 < exact_GG[0, 3]


COHORT = Cohort(expected=60, max=100)


def problem(expected):
    return Problem(parameters=2, cohort=Cohort(expected=expected, max=100))


@pytest.mark.parametrize(
    ("strategy", "clients", "words"),
    [
        (Robust(rule=Krum(byzantine=2)), 6, "Krum with byzantine=2 needs 7 .* there are 6: lower strategy.rule.byz"),
        (Robust(rule=Krum(byzantine=0, keep=5)), 4, "Krum with keep=5 needs 5 .* lower strategy.rule.keep"),
        (Robust(rule=Bulyan()), 6, "Bulyan with byzantine=1 needs 7 .* there are 6: lower strategy.rule.byzantine"),
        (Robust(rule=TrimmedMean()), 2, "trimmed by 0.2 needs 3 .* there are 2: lower strategy.rule.trim"),
        (Robust(rule=Krum(), bucket=2), 8, "Krum with byzantine=1 needs 5 .* there are 4"),
        (Robust(rule=Krum(), groups=4), 50, "Krum with byzantine=1 needs 5 .* there are 4"),
    ],
)
def test_too_small_a_cohort_is_refused_and_too_few_answers_lose_the_round(strategy, clients, words):
    with pytest.raises(CompositionError, match=words):
        strategy.endpoints(problem(clients))
    few = strategy.groups or clients
    answer = Released(
        sums={"delta": drawn(few, 2), "loss": np.zeros(few)},
        count_G=np.ones(few, np.int64),
        names=tuple("abcdefgh"[:few]),
    )
    flow = strategy.round(strategy.init(np.zeros(2, np.float32)), Round(number=1, population=60, cohort=COHORT))
    next(flow)
    with pytest.raises(RoundLost, match=words):
        flow.send(answer)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Krum(byzantine=-1), "rule.byzantine=-1: it must be at least 0"),
        (lambda: Krum(keep=-1), "rule.keep=-1: it must be at least 0"),
        (lambda: Bulyan(byzantine=-1), "rule.byzantine=-1"),
        (lambda: TrimmedMean(trim=0.5), "rule.trim=0.5: it is a share"),
        (lambda: GeometricMedian(passes=0), "rule.passes=0: it must be at least 1"),
        (lambda: GeometricMedian(smoothing=0.0), "rule.smoothing=0.0: it must be above 0"),
        (lambda: CentredClipping(radius=float("nan")), "rule.radius=nan: it must be above 0"),
        (lambda: CentredClipping(passes=0), "rule.passes=0"),
        (lambda: Rfa(passes=0), "strategy.passes=0: it must be at least 1"),
        (lambda: Rfa(smoothing=0.0), "strategy.smoothing=0.0: it must be above 0"),
        (lambda: Robust(bucket=0), "strategy.bucket=0"),
        (lambda: Robust(groups=-1), "strategy.groups=-1"),
    ],
)
def test_settings_that_mean_nothing_are_refused(make, words):
    with pytest.raises(CompositionError, match=words):
        make()


def test_rfa_refuses_integers_that_would_lose_its_strengths_and_the_remedy_helps():
    world, fine = laws.Quadratic.of(), laws.play(Rfa(), laws.Quadratic.of(), 1).model_P
    with pytest.raises(CompositionError, match="too coarse for strengths"):
        laws.play(Rfa(pipeline=(Bound(clip={"loss": 10.0}), Quantise())), world, 1)
    kept = Bound(clip={"strength": 10.0, "loss": 10.0})
    rounded = laws.play(Rfa(pipeline=(kept, Quantise())), world, 1).model_P
    np.testing.assert_allclose(rounded, fine, atol=1e-3)  # the deviation over 39 seeds is 1.3e-4


def test_a_rule_that_selects_tells_how_many():
    world = laws.Quadratic.of()
    for rule, selected in ((Krum(), 1), (Krum(keep=0), 7), (Bulyan(), 6), (Median(), None)):
        (step,) = laws.play(Robust(rule=rule), world, 1).steps
        assert step.metrics.get("selected") == selected


def test_the_loss_is_that_of_the_median_client():
    (step,) = laws.play(Robust(rule=Krum()), laws.Quadratic.of(), 1).steps
    assert step.metrics["train_loss"] == np.median(step.asked[0][1].sums["loss"].astype(np.float32))


@pytest.mark.parametrize("lose", [(), ((1, "c01"), (2, "c02"), (2, "c05"))])
def test_the_geometric_median_is_the_same_from_rows_and_from_sums(lose):
    for passes in (1, 2, 4, 9):
        rows, sums = (
            laws.play(strategy, laws.Quadratic.of(), 4, lose=lose)
            for strategy in (Robust(rule=GeometricMedian(passes=passes)), Rfa(passes=passes))
        )
        assert np.abs(rows.model_P - sums.model_P).max() < 1e-6
        assert len(sums.steps[0].asked) == passes


def test_a_client_pulls_by_at_most_one():
    far = replace(laws.Quadratic.of(), target_NP=np.full((8, 5), 50, np.float32))
    (step,) = laws.play(Rfa(), far, 1).steps
    for _, released in step.asked:
        assert np.linalg.norm(released.total("delta")) <= 8 * (1 + 1e-6)


def test_fltrust_by_hand():
    """The cosines with (0, 2) are 1, 0.6 and -1, and 0 for no update: 1 (0, 2) and 0.6 (1.6, 1.2), over 1.6."""
    rows_GP = np.array([[0, 9], [4, 3], [0, -1], [0, 0]], np.float32)
    step_P, trusted = trusting(rows_GP, np.array([0, 2], np.float32))
    assert np.allclose(step_P, [0.96 / 1.6, 2.72 / 1.6]) and trusted == 2


@pytest.mark.parametrize(
    "strategy",
    [Robust(rule=Krum()), Robust(rule=CentredClipping()), Robust(rule=GeometricMedian()), FLTrust(root="c00")],
    ids=lambda strategy: type(getattr(strategy, "rule", strategy)).__name__,
)
def test_what_no_gradient_trains_decides_nothing_and_moves_by_the_median(strategy):
    """The last entry is a count from 0 to 800; the rest of the model is as if it did not move."""
    counting, still = Counting.of(clients=9, buffers=(slice(4, 5),)), Counting.of(clients=9, by=0)
    got, plain = (laws.play(strategy, world, 1).model_P for world in (counting, still))
    assert np.array_equal(got[:4], plain[:4]) and got[:4].any()
    assert got[4] == (450 if isinstance(strategy, FLTrust) else 400), "the root client is none of the others"


@dataclass(frozen=True, kw_only=True)
class Counting(laws.Quadratic):
    """A world whose last parameter is a count: each client moves it by its place times ``by``."""

    by: float = 100.0

    def train(self, model_P, private_BQ, names, ctx, plan=PLAIN):
        trained = super().train(model_P, private_BQ, names, ctx, plan)
        trained.delta_BP[:, 4] = [self.by * self.names.index(name) for name in names]
        return trained


def test_fltrust_stays_where_nobody_is_trusted_and_needs_somebody():
    step_P, trusted = trusting(column(-1, 0), np.ones(1, np.float32))
    assert (step_P.tolist(), trusted) == ([0], 0)
    with pytest.raises(RoundLost, match="nobody but the root client 'c00' answered"):
        laws.play(FLTrust(root="c00"), laws.Quadratic.of(), 1, cohort=("c00",))


def test_the_root_client_is_asked_first_trains_once_and_is_not_among_the_others():
    world = laws.Quadratic.of()
    for cohort in (world.names, world.names[1:]):
        (step,) = laws.play(FLTrust(root="c00"), world, 1, cohort=cohort).steps
        (first, own), (_, others) = step.asked
        assert first.to == ("c00",) and own.names == ("c00",) and others.names == cohort
        rows_GP = others.means("delta", "count")[len(cohort) - 7 :]
        step_P, trusted = trusting(rows_GP, own.means("delta", "count")[0])
        assert np.array_equal(step.after["model"], step_P) and step.metrics["trusted"] == trusted


@dataclass(frozen=True, kw_only=True)
class Attacked(laws.Quadratic):
    """A world whose clients want nearly the same, but for the last three of fifteen, which lie."""

    attack: str = "none"

    LIARS = ("c12", "c13", "c14")

    def train(self, model_P, private_BQ, names, ctx, plan=PLAIN):
        trained = super().train(model_P, private_BQ, names, ctx, plan)
        for i in [i for i, name in enumerate(names) if name in self.LIARS]:
            trained.delta_BP[i] = {
                "sign flip": -10 * trained.delta_BP[i],
                "scaled": 5 * (50 - model_P),
                "gaussian": 10 + 30 * ctx.learning(names[i], "attack").standard_normal(len(model_P)),
            }[self.attack]
        return trained


def attacked(attack):
    rng = np.random.default_rng(3)
    target_NP = np.array([2, -1, 0.5, 3, 1]) + 0.1 * rng.normal(size=(15, 5))
    ones_N = np.ones(15, np.float32)
    return Attacked(pull_N=ones_N, target_NP=target_NP.astype(np.float32), examples_N=np.full(15, 9), attack=attack)


def gap(strategy, world, rounds):
    """How far from what the honest want a model ends, in the largest coordinate."""
    return np.abs(laws.play(strategy, world, rounds).model_P - world.target_NP[:12].mean(axis=0)).max()


WITHSTAND = {
    "median": Robust(),
    "trimmed mean": Robust(rule=TrimmedMean()),
    "krum": Robust(rule=Krum(byzantine=3)),
    "multi-krum": Robust(rule=Krum(byzantine=3, keep=0)),
    "bulyan": Robust(rule=Bulyan(byzantine=3)),
    "geometric median": Robust(rule=GeometricMedian()),
    "centred clipping": Robust(rule=CentredClipping(radius=0.3, passes=3)),
    "bucketing": Robust(bucket=2),
    "rfa": Rfa(),
    "fltrust": FLTrust(root="c00"),
    "median of means": Robust(groups=12),
    "norm bounding": FedAvg(weighting="uniform", pipeline=(Bound(clip={"delta": 0.3}),)),
}


@pytest.mark.parametrize("attack", ["sign flip", "scaled", "gaussian"])
@pytest.mark.parametrize("name", WITHSTAND)
def test_a_fifth_of_liars_moves_no_rule_far(name, attack):
    assert gap(WITHSTAND[name], attacked(attack), 40) < 0.5


@pytest.mark.parametrize("attack", ["sign flip", "scaled", "gaussian"])
def test_a_fifth_of_liars_moves_the_mean_far(attack):
    assert gap(FedAvg(weighting="uniform"), attacked(attack), 10) > 2
