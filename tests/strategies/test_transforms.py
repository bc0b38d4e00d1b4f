"""Bound and Quantise: what they do to rows, and that it can be undone."""

from __future__ import annotations

import numpy as np
import pytest

from hansa.strategies import (
    WEIGHT,
    Bound,
    Channel,
    Cohort,
    CompositionError,
    Context,
    Quantise,
    Spec,
    SumError,
    compose,
    exact,
)

CTX = Context(round=1, public=b"p", own=b"o")
COHORT = Cohort(expected=10, max=10)


def spec(delta=8, weighted=True):
    channels = (Channel(name="delta", shape=(delta,), weighted=weighted), Channel(name="loss", weighted=weighted))
    return Spec(channels=(*channels, *([WEIGHT] if weighted else [])), cohort=COHORT)


def rows(delta, examples=(1,), loss=1.0):
    delta = np.atleast_2d(np.asarray(delta, np.float32))
    many = len(delta)
    return spec(delta.shape[1]).pack({"delta": delta, "loss": np.full(many, loss), "weight": np.array(examples)}, many)


def encoded(transforms, rows_BD, dim=8):
    names = tuple(f"c{i}" for i in range(len(rows_BD)))
    return compose(spec(dim), transforms).encode(rows_BD, names, CTX)


def decoded(pipeline, wire_BD):
    total = exact.zeros(pipeline.wire, 1)
    for row_D in wire_BD:
        exact.add(pipeline.wire, total[0], row_D)
    return pipeline.row.unpack(pipeline.decode(total, CTX))


def test_weights_stay_apart_under_a_clip():
    bound = Bound(clip={"delta": 1.0, "loss": 1.0}, max_examples=600)
    wire_BD = encoded([bound], rows(np.full((3, 8), 9.0), examples=[6, 60, 600]))
    assert np.allclose(wire_BD[1] / wire_BD[0], 10) and np.allclose(wire_BD[2] / wire_BD[1], 10)


def test_examples_above_the_largest_weight_count_as_that():
    wire_BD = encoded([Bound(max_examples=100)], rows(np.ones((2, 8)), examples=[100, 10_000]))
    assert np.array_equal(wire_BD[0], wire_BD[1])


def test_each_channel_is_clipped_on_its_own():
    pipeline = compose(spec(), [Bound(clip={"delta": 2.0, "loss": 100.0}, max_examples=1)])
    sums = decoded(pipeline, pipeline.encode(rows(np.full(8, 5.0), loss=7.0), ("a",), CTX))
    assert np.linalg.norm(sums["delta"]) == pytest.approx(2.0, rel=1e-6)
    assert sums["loss"] == pytest.approx(7.0, rel=1e-6) and sums["weight"] == pytest.approx(1.0, rel=1e-6)


def test_a_bounded_row_is_never_longer_than_one():
    rng = np.random.default_rng(0)
    for scale in (0, 1e-30, 1e-3, 1, 1e6, 1e30):
        wire_D = encoded([Bound(clip={"delta": 0.7, "loss": 3.0}, max_examples=1)], rows(rng.normal(size=8) * scale))[0]
        assert np.linalg.norm(wire_D.astype(np.float64)) <= 1.0


def test_without_a_clip_rows_are_only_weighed():
    given = rows(np.arange(8), examples=[3])
    wire_D = encoded([Bound(max_examples=6)], given)[0]
    assert np.array_equal(wire_D[:8], given[0, :8] / 2) and wire_D[-1] == 0.5


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_row_that_is_not_finite_is_not_mended(bad):
    pipeline = compose(spec(), [Bound(clip={"delta": 1.0, "loss": 1.0})])
    with np.errstate(invalid="ignore"):
        wire_D = pipeline.encode(rows([bad, *[0] * 7]), ("a",), CTX)[0]
    with pytest.raises(SumError, match="'delta' holds nan"):
        exact.add(pipeline.wire, exact.zeros(pipeline.wire, 1)[0], wire_D)


@pytest.mark.parametrize("bits", [16, 32])
def test_quantised_sums_come_back_within_their_step(bits):
    pipeline = compose(spec(100), [Bound(clip={"delta": 1.0, "loss": 1.0}, max_examples=1), Quantise(bits=bits)])
    delta_BP = np.random.default_rng(1).normal(size=(10, 100)) / 40
    sums = decoded(pipeline, pipeline.encode(rows(delta_BP, [1] * 10), tuple("abcdefghij"), CTX))
    limit = (2 ** (bits - 1) - 1) // 10
    assert np.abs(sums["delta"][0] - delta_BP.sum(axis=0)).max() <= 10 * np.sqrt(3) / (limit - 1) * 1.001
    assert pipeline.wire.dtype.itemsize == bits // 8


def test_rounding_is_unbiased():
    pipeline = compose(spec(1), [Bound(clip={"delta": 1.0, "loss": 1.0}, max_examples=1), Quantise(bits=16)])
    names = tuple(f"c{i}" for i in range(4000))
    wire_B = pipeline.encode(rows(np.full((4000, 1), 0.12345), [1] * 4000), names, CTX)[:, 0].view(np.int16)
    step = np.sqrt(3) / (32767 // 10 - 1)
    assert wire_B.mean() * step == pytest.approx(0.12345, abs=5 * step / np.sqrt(4000))
    assert len(set(wire_B.tolist())) == 2


def test_the_largest_rows_of_a_whole_cohort_do_not_wrap():
    pipeline = compose(spec(1), [Bound(clip={"delta": 1.0, "loss": 1e9}, max_examples=1), Quantise(bits=16)])
    sums = decoded(pipeline, pipeline.encode(rows(np.full((10, 1), 1e9), [1] * 10), tuple("abcdefghij"), CTX))
    assert sums["delta"][0, 0] == pytest.approx(10, rel=1e-2)


def test_quantise_does_not_hide_what_is_not_finite():
    pipeline = compose(spec(), [Bound(clip={"delta": 1.0, "loss": 1.0}), Quantise()])
    with np.errstate(invalid="ignore"), pytest.raises(FloatingPointError, match="training diverged"):
        pipeline.encode(rows([np.nan] * 8), ("a",), CTX)


BOUND = Bound(clip={"delta": 1.0, "loss": 1.0})


@pytest.mark.parametrize(
    ("transforms", "words"),
    [
        ([Quantise()], "needs a bounded real row.*clip a norm for delta, loss"),
        ([Bound(), Quantise()], "clip a norm for delta, loss"),
        ([BOUND, Quantise(), Quantise()], "put Bound before it, once"),
        ([BOUND, Quantise(), Bound()], "put it first, and once"),
        ([BOUND, Bound()], "put it first, and once"),
        ([Bound(clip={"dleta": 1.0})], "no channel 'dleta': name any of delta, loss, weight"),
        ([Bound(clip={"delta": 0.0})], "must be above 0"),
        ([Bound(clip={"delta": float("nan")})], "must be above 0"),
        ([Bound(max_examples=0)], "max_examples=0: it must be at least 1"),
    ],
)
def test_nonsense_is_refused_with_the_remedy(transforms, words):
    with pytest.raises(CompositionError, match=words):
        compose(spec(), transforms)


def test_sixteen_bits_for_too_many_rows_are_refused():
    many = Spec(channels=spec().channels, cohort=Cohort(expected=1, max=20_000))
    with pytest.raises(CompositionError, match=r"only 1 steps.*set pipeline.quantise.bits=32, or lower cohort.max"):
        compose(many, [BOUND, Quantise()])


def test_weighted_channels_need_bound_and_a_weight_is_not_clipped():
    with pytest.raises(CompositionError, match="weighted channels need Bound"):
        compose(spec(), [])
    with pytest.raises(CompositionError, match=r"clip\.weight: a weight is at most 1"):
        compose(spec(), [Bound(clip={"weight": 1.0})])


def test_weighted_channels_need_a_weight():
    bare = Spec(channels=(Channel(name="delta", weighted=True),), cohort=COHORT)
    with pytest.raises(CompositionError, match="need a 'weight' channel"):
        compose(bare, [Bound()])


def test_specs_and_cohorts_refuse_nonsense():
    with pytest.raises(CompositionError, match="a name of its own"):
        Spec(channels=(Channel(name="a"), Channel(name="a")), cohort=COHORT)
    with pytest.raises(CompositionError, match=r"raise cohort\.max"):
        Cohort(expected=5, max=4)
    with pytest.raises(CompositionError, match=r"channels \['a'\] were made where \['delta'"):
        spec().pack({"a": np.ones(1)}, 1)
