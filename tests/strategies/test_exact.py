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
