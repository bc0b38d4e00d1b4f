"""Laws of transforms and aggregators: encoding, influence, screen, merge."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import TypeAlias

import numpy as np

from hansa.strategies.aggregate import SUM, Aggregator, Released, Totals
from hansa.strategies.errors import SumError
from hansa.strategies.keys import Context, from_seed
from hansa.strategies.laws.tree import demand, demand_same
from hansa.strategies.pipeline import Names, Pipeline, Transform, compose
from hansa.strategies.spec import WEIGHT, Channel, Cohort, Spec
from hansa.strategies.types import Array

Way: TypeAlias = Pipeline | Sequence[Transform]
"""A compiled pipeline, or transforms to be compiled for ROW."""

NAMES = tuple(f"c{i:02d}" for i in range(8))
ROW = Spec(
    channels=(Channel(name="delta", shape=(5,), weighted=True), Channel(name="loss", weighted=True), WEIGHT),
    cohort=Cohort(expected=len(NAMES), max=len(NAMES)),
)
"""Rows as FedAvg has them."""

MAGNITUDES = (1.0, 1e-3, 1e3, 1e-30, 1e-44, 1e30, 3e38, 0.0)
TRIES = 20


def check_transforms(transforms: Sequence[Transform], row: Spec = ROW) -> None:
    """Check every law that transforms keep, for rows of a spec."""
    pipeline = compose(row, transforms)
    check_encoding(pipeline)
    check_influence(pipeline)
    check_screen(pipeline)
    check_merge(SUM, pipeline)


def check_encoding(way: Way) -> None:
    """A client is a block of one: its row leaves the same, to the bit, alone and in any block; and is not changed."""
    pipeline = _compiled(way)
    rows_BD, ctx = mild(pipeline.row), context("client", 0)
    before_BD = rows_BD.copy()
    wire_BD = pipeline.encode(rows_BD, NAMES, ctx)
    turned_BD = pipeline.encode(rows_BD[::-1], NAMES[::-1], ctx)[::-1]
    for i, name in enumerate(NAMES):
        alone_D = pipeline.encode(rows_BD[i : i + 1], (name,), ctx)[0]
        demand_same({name: alone_D}, {name: wire_BD[i]}, "a row encoded alone, and in a block")
        demand_same({name: alone_D}, {name: turned_BD[i]}, "a row encoded alone, and in a block in another order")
    demand_same({"rows": before_BD}, {"rows": rows_BD}, "the rows before and after they were encoded")


def check_influence(way: Way) -> None:
    """One client moves a decoded total by at most ``influence``, whatever its row; and what it sends is let in."""
    pipeline = _compiled(way)
    if not math.isfinite(pipeline.influence):
        return
    for request in range(TRIES):
        rows_BD = wild(pipeline.row, request)
        wire_BD = pipeline.encode(rows_BD, NAMES, context("client", request))
        whole_D = _decoded(pipeline, wire_BD, NAMES, request)
        for i, name in enumerate(NAMES):
            rest_D = _decoded(pipeline, wire_BD, NAMES[:i] + NAMES[i + 1 :], request)
            moved = float(np.linalg.norm(whole_D - rest_D))
            demand(
                moved <= pipeline.influence * (1 + 1e-9),
                f"client {name} moved a total by {moved:.6g} where influence={pipeline.influence:.6g}.",
            )


def check_screen(way: Way) -> None:
    """A row that is not finite never enters a sum: encoding it raises, or the sum refuses it."""
    pipeline = _compiled(way)
    for bad in (math.nan, math.inf, -math.inf):
        for channel, where in pipeline.row.slices.items():
            row_BD = mild(pipeline.row)[:1]
            row_BD[0, where.start] = bad
            try:
                wire_BD = pipeline.encode(row_BD, NAMES[:1], context("client", 0))
                SUM.empty(pipeline.wire, NAMES[:1]).add(NAMES[0], wire_BD[0], 0)
            except (ArithmeticError, SumError):
                continue
            raise AssertionError(f"a row with {bad} in channel {channel!r} entered the sum.")


def check_merge(aggregator: Aggregator, way: Way) -> None:
    """Partial totals, merged in any grouping and order, are the total of all rows, to the bit."""
    pipeline = _compiled(way)
    rows_BD = pipeline.encode(mild(pipeline.row), NAMES, context("client", 0))
    whole = _total(aggregator, pipeline, rows_BD, NAMES)
    for seed in range(TRIES):
        rng = np.random.default_rng(seed)
        shuffled, cuts = rng.permutation(NAMES).tolist(), sorted(rng.integers(0, len(NAMES) + 1, 3).tolist())
        starts, ends = [0, *cuts], [*cuts, len(NAMES)]
        parts = [shuffled[start:end] for start, end in zip(starts, ends, strict=True)]
        totals = [_total(aggregator, pipeline, rows_BD, tuple(part)) for part in parts]
        while len(totals) > 1:
            other = totals.pop(int(rng.integers(len(totals))))
            totals[int(rng.integers(len(totals)))].merge(other)
        demand_same(_plain(whole), _plain(totals[0]), f"the total of all, and of the parts {parts}")
        demand(whole.names == totals[0].names, "merged totals list other clients.")
    _check_rule(aggregator, pipeline, whole)


def mild(row: Spec, seed: int = 0) -> Array:
    """Return rows_BD of NAMES that every sum lets in once they are encoded: entries about 1, examples from 1 to 99."""
    rng = np.random.default_rng(seed)
    parts: dict[str, Array] = {}
    for channel in row.channels:
        value = rng.normal(size=(len(NAMES), channel.size)) * min(1.0, channel.cap / 8)
        parts[channel.name] = np.abs(value) if channel.nonnegative else value
    if WEIGHT.name in parts:
        parts[WEIGHT.name] = rng.integers(1, 100, len(NAMES))
    return row.pack(parts, len(NAMES))


def wild(row: Spec, seed: int) -> Array:
    """Return rows_BD of NAMES with channels of all magnitudes: huge, tiny, zero, and huge in one entry only."""
    rng = np.random.default_rng(seed)
    parts: dict[str, Array] = {}
    for channel in row.channels:
        value = rng.uniform(-1, 1, (len(NAMES), channel.size)) * rng.choice(MAGNITUDES, (len(NAMES), 1))
        value[0], value[1, 1:] = -3e38, 0.0
        parts[channel.name] = np.abs(value) if channel.nonnegative else value
    if WEIGHT.name in parts:
        parts[WEIGHT.name] = rng.choice([0, 1, 60, 2**20, 2**31], len(NAMES))
    return row.pack(parts, len(NAMES))


def context(owner: str, request: int) -> Context:
    """Return the context of a request of round 1 for the client or the coordinator."""
    return Context(round=1, request=request, public=from_seed(1, "public"), own=from_seed(1, owner))


def _compiled(way: Way) -> Pipeline:
    return way if isinstance(way, Pipeline) else compose(ROW, way)


def _decoded(pipeline: Pipeline, wire_BD: Array, names: Names, request: int) -> Array:
    totals = SUM.empty(pipeline.wire, NAMES)
    for name in names:
        try:
            totals.add(name, wire_BD[NAMES.index(name)], 0)
        except SumError as error:
            raise AssertionError(f"the row of client {name}, encoded as it should be, was refused: {error}") from error
    return np.asarray(pipeline.decode(totals.sum_GD, context("coordinator", request))[0])


def _total(aggregator: Aggregator, pipeline: Pipeline, rows_BD: Array, names: Names) -> Totals:
    totals = aggregator.empty(pipeline.wire, NAMES)
    for name in names:
        totals.add(name, rows_BD[NAMES.index(name)], aggregator.group(name, NAMES, context("coordinator", 0)))
    return totals


def _plain(totals: Totals) -> dict[str, Array]:
    return {"sum": totals.sum_GD, "count": totals.count_G}


def _check_rule(aggregator: Aggregator, pipeline: Pipeline, totals: Totals) -> None:
    """The rule gives a value of the channel's shape, whatever the order of the groups."""
    released = Released.of(totals, pipeline, aggregator, context("coordinator", 0))
    turned = {name: sums_GP[::-1] for name, sums_GP in released.sums.items()}
    other = replace(released, sums=turned, count_G=released.count_G[::-1])
    for channel in pipeline.row.channels:
        mean, same = released.mean(channel.name, "count"), other.mean(channel.name, "count")
        demand(mean.shape == channel.shape, f"the rule gives {mean.shape} for channel {channel.name!r}.")
        demand_same({channel.name: mean}, {channel.name: same}, "the rule on the groups, and on them in reverse")
