"""Keyed randomness: who and what for, and nothing else."""

from __future__ import annotations

import numpy as np

from hansa.strategies import Context
from hansa.strategies.keys import derive, from_seed

NAMES = tuple(f"c{i:02}" for i in range(40))


def context(**changed):
    return Context(
        **{"round": 3, "request": 1, "public": from_seed(1, "public"), "own": from_seed(1, "own"), **changed}
    )


def test_keys_never_change_by_accident():
    assert derive(b"key", "a", 1).hex().startswith("92ebb711ce4910b4")
    assert from_seed(1, "public").hex().startswith("7b5b3bb3a8222b8b")
    assert context().learning("c00", "batches").integers(2**32, size=2).tolist() == [893031285, 2225108298]


def test_parts_do_not_run_together():
    keys = [derive(b"k", *parts) for parts in (("ab", "c"), ("a", "bc"), ("abc",), ("1",), (1,), ("a", "b", "c"))]
    assert len(set(keys)) == len(keys)


def test_domains_and_seeds_differ():
    assert len({from_seed(seed, domain) for seed in (1, 2) for domain in ("public", "coordinator", "client")}) == 6


def draw(rng):
    return rng.integers(2**62)


def test_learning_depends_on_round_client_and_purpose_only():
    same = draw(context().learning("c00", "batches"))
    assert same == draw(context(request=5, own=b"other").learning("c00", "batches"))
    others = [context(round=4), context(public=b"other")]
    assert same not in [draw(ctx.learning("c00", "batches")) for ctx in others]
    assert same not in [draw(context().learning("c01", "batches")), draw(context().learning("c00", "torch"))]


def test_secrets_are_fresh_in_every_request_and_of_this_party():
    same = draw(context().secret("c00", "round"))
    assert same == draw(context(public=b"other").secret("c00", "round"))
    assert same not in [draw(ctx.secret("c00", "round")) for ctx in (context(request=2), context(own=b"other"))]


def test_removing_a_client_moves_nobody_to_another_group():
    groups = {name: context().group(name, 4) for name in NAMES}
    assert set(groups.values()) == {0, 1, 2, 3}
    assert groups == {name: context(request=9).group(name, 4) for name in NAMES}


def test_cohorts_are_uniform_sorted_and_repeatable():
    drawn = [context(round=r).sample(NAMES, 10) for r in range(400)]
    assert drawn[0] == context(round=0, request=7).sample(NAMES, 10)
    assert all(len(set(d)) == 10 and list(d) == sorted(d) for d in drawn)
    counts = np.array([sum(name in d for d in drawn) for name in NAMES])
    assert counts.sum() == 4000 and counts.min() > 65 and counts.max() < 140
