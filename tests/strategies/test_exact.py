"""Exact sums: the law that lands before any other code."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hansa.strategies import exact
from hansa.strategies.errors import SumError
from hansa.strategies.spec import Channel, Cohort, Spec

SPEC = Spec(
    channels=(Channel(name="delta", shape=(40_000,)), Channel(name="count", cap=2.0**31, nonnegative=True)),
    cohort=Cohort(expected=10, max=10),
)


def total(rows, order):
    out = exact.zeros(SPEC, 1)
    for i in order:
        exact.add(SPEC, out[0], rows[i])
    return out


def wild(seed):
    rng = np.random.default_rng(seed)
    rows = rng.normal(size=(10, SPEC.dim)) * 10.0 ** rng.integers(-12, 4, (10, SPEC.dim))
    return np.clip(np.abs(rows), 0, 2.0**16).astype(np.float32) * np.where(np.arange(SPEC.dim) % 2, -1, 1).astype("f4")


@given(st.integers(0, 2**32), st.permutations(range(10)), st.integers(1, 9))
@settings(max_examples=25, deadline=None)
def test_sum_is_the_same_in_any_order_and_in_any_parts(seed, order, cut):
    rows = wild(seed)
    rows[:, -1] = np.abs(rows[:, -1])
    whole = total(rows, range(10))
    assert np.array_equal(whole, total(rows, order))
    assert np.array_equal(whole, total(rows, order[:cut]) + total(rows, order[cut:]))


def test_float64_sums_depend_on_order_which_is_why_these_exist():
    rows = wild(0).astype(np.float64)
    assert not np.array_equal(np.add.reduce(rows), np.add.reduce(rows[::-1]))


def test_error_is_within_its_bound():
    rows = wild(1)
    rows[:, -1] = np.abs(rows[:, -1])
    true = [float(sum(map(Fraction, column))) for column in rows.T.tolist()]
    error = np.abs(exact.to_reals(SPEC, total(rows, range(10)))[0] - true)
    assert error[:-1].max() <= 10 * 2.0 ** -(exact.shift(2.0**16, 10) + 1)
    assert error[-1] <= 10 * 2.0 ** -(exact.shift(2.0**31, 10) + 1)


def test_the_largest_rows_do_not_overflow():
    rows = np.full((10, SPEC.dim), 2.0**16, np.float32)
    rows[:, -1] = 2.0**31
    sums = exact.to_reals(SPEC, total(rows, range(10)))[0]
    assert sums[0] == 10 * 2.0**16 and sums[-1] == 10 * 2.0**31


def row(value, where=0):
    out = np.zeros(SPEC.dim, np.float32)
    out[where] = value
    return out


@pytest.mark.parametrize(
    ("bad", "words"),
    [
        (row(np.nan), "'delta' holds nan"),
        (row(np.inf), "'delta' holds inf"),
        (row(-np.inf), "'delta' holds -inf"),
        (row(70_000), "above its cap of 65536"),
        (row(-70_000, 39_999), "above its cap"),
        (row(-1, -1), "nothing below 0"),
        (row(0).astype(np.float64), "float64"),
        (row(0)[:-1], r"\[40000\] where float32\[40001\]"),
    ],
)
def test_a_row_that_must_not_enter_is_named(bad, words):
    before = exact.zeros(SPEC, 1) + 7
    out = before.copy()
    with pytest.raises(SumError, match=words):
        exact.add(SPEC, out[0], bad)
    assert np.array_equal(out, before)


def test_a_row_longer_than_its_bound_is_named():
    spec = Spec(channels=(Channel(name="delta", shape=(4,)),), cohort=SPEC.cohort, l2=1.0)
    out = exact.zeros(spec, 1)
    exact.add(spec, out[0], np.full(4, 0.5, np.float32))
    before = out.copy()
    with pytest.raises(SumError, match="norm is 2 where Bound allows 1"):
        exact.add(spec, out[0], np.ones(4, np.float32))
    assert np.array_equal(out, before)


def test_a_row_that_turns_out_wrong_at_its_end_is_taken_back_to_the_bit():
    rows, bad = np.abs(wild(3)), np.abs(wild(4))[0]
    out = total(rows[:9], range(9))
    before, bad[-2] = out.copy(), np.nan
    assert SPEC.dim > 2 * exact.CHUNK
    with pytest.raises(SumError, match="'delta' holds nan"):
        exact.add(SPEC, out[0], bad)
    assert np.array_equal(out, before)


@pytest.mark.parametrize("domain", ["ring16", "ring32"])
def test_rings_wrap_and_refuse_what_is_over_their_limit(domain):
    spec = Spec(channels=(Channel(name="delta", shape=(2,)),), cohort=SPEC.cohort, domain=domain, limit=100)
    out = exact.zeros(spec, 1)
    for value in (-100, 100, 7):
        entry = np.array([value, 0]).astype(spec.dtype)
        exact.add(spec, out[0], entry)
    assert out[0].tolist() == [7, 0]
    with pytest.raises(SumError, match="101 where Quantise allows 100"):
        exact.add(spec, out[0], np.array([-101, 0]).astype(spec.dtype))
    assert out[0].tolist() == [7, 0]


FADING = Spec(
    channels=(Channel(name="delta", shape=(3,), fades=True), Channel(name="count", nonnegative=True)),
    cohort=Cohort(expected=4, max=4),
)


@given(st.lists(st.floats(2.0**-10, 1.0), min_size=4, max_size=4), st.permutations(range(4)))
@settings(max_examples=25, deadline=None)
def test_rows_fade_in_the_channels_that_do_and_in_any_order(fades, order):
    rows = np.abs(wild(5)[:4, :4])
    sums = [exact.zeros(FADING, 1), exact.zeros(FADING, 1)]
    for total_D, places in zip(sums, (range(4), order), strict=True):
        for i in places:
            exact.add(FADING, total_D[0], rows[i], fades[i])
    assert np.array_equal(*sums)
    true = (rows.astype(np.float64) * np.stack([[f, f, f, 1] for f in fades])).sum(0)
    assert np.allclose(exact.to_reals(FADING, sums[0])[0], true, rtol=0, atol=4 * 2.0 ** -exact.shift(2.0**16, 4))


def test_a_row_that_does_not_fade_is_the_same_to_the_bit_and_a_wrong_one_is_taken_back_though_it_fades():
    rows, bad = np.abs(wild(6)[:, :4]), np.array([1.7, 2.3, 0.1, -1.0], np.float32)
    faded, plain = exact.zeros(FADING, 1), exact.zeros(FADING, 1)
    exact.add(FADING, faded[0], rows[0], 1.0)
    exact.add(FADING, plain[0], rows[0])
    assert np.array_equal(faded, plain)
    with pytest.raises(SumError, match="nothing below 0"):
        exact.add(FADING, faded[0], bad, 1 / 3)
    assert np.array_equal(faded, plain)


def test_integers_cannot_fade():
    spec = Spec(channels=(Channel(name="delta", fades=True),), cohort=FADING.cohort, domain="ring16", limit=9)
    out = exact.zeros(spec, 1)
    exact.add(spec, out[0], np.ones(1, np.uint16), 1.0)
    with pytest.raises(SumError, match=r"cannot fade: set cohort.decay=0"):
        exact.add(spec, out[0], np.ones(1, np.uint16), 0.5)
    assert out[0].tolist() == [1]
