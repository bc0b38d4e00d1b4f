"""Round-robin: each client once an epoch, whoever is away comes next, and an order that takes no memory."""

from __future__ import annotations

import itertools
import time
from collections import Counter

import pytest

from hansa.fedserver.errors import SelectionError
from hansa.fedserver.policy import CohortPolicy
from hansa.fedserver.selection import Present, RoundRobin
from hansa.fedserver.selection.round_robin import LOOKS, Turn
from hansa.fedserver.selection.shuffle import Shuffle
from hansa.fedtasks.names import names as numbered
from hansa.strategies.keys import derive
from tests.draws import NAMES, Some, chi_squared, drawing, drawn


def rounds(there, size: int, many: int, memory=None):
    """Cohorts of some rounds, and the memory after each."""
    selection = RoundRobin()
    memory = memory or selection.start(None)
    for round in range(1, many + 1):
        names, memory, asked = drawn(selection, drawing(there, round, size=size), memory)
        assert list(names) == sorted(set(names)) and asked == []
        yield names, memory


def test_each_client_once_an_epoch_in_a_new_order():
    cohorts = [names for names, _ in rounds(Some(), 4, 6)]
    first, second = cohorts[:3], cohorts[3:]
    assert sorted(itertools.chain(*first)) == sorted(itertools.chain(*second)) == list(NAMES)
    assert set(first) != set(second)
    assert cohorts == [names for names, _ in rounds(Some(), 4, 6)], "the same keys draw the same"


def test_an_epoch_that_ends_in_a_round_goes_on_with_the_next_and_takes_nobody_twice():
    cohorts = list(rounds(Some(), 5, 12))
    assert all(len(names) == 5 for names, _ in cohorts)
    count = Counter(itertools.chain(*(names for names, _ in cohorts)))
    assert set(count.values()) == {5}, "60 turns of 12 clients"
    assert [memory.epoch for _, memory in cohorts][:3] == [1, 1, 2]


def test_who_is_away_is_skipped_and_comes_next():
    there, selection = Some(), RoundRobin()
    order = [NAMES[place] for place in Shuffle(derive(b"o", "round robin", 1), 12)]
    there.away = {order[1], order[4]}
    names, memory, _ = drawn(selection, drawing(there, size=3), selection.start(None))
    assert set(names) == {order[0], order[2], order[3]} and memory.owed == (NAMES.index(order[1]),)
    there.away = {order[4]}
    names, memory, _ = drawn(selection, drawing(there, 2, size=3), memory)
    assert set(names) == {order[1], order[5], order[6]} and memory.owed == (NAMES.index(order[4]),)
    there.away = set()
    names, memory, _ = drawn(selection, drawing(there, 3, size=3), memory)
    assert set(names) == {order[4], order[7], order[8]} and memory.owed == ()


def test_where_fewer_are_there_all_of_them_come_and_the_epoch_goes_on():
    there = Some(away=set(NAMES[2:]))
    *_, (names, memory) = rounds(there, 4, 3)
    assert names == NAMES[:2]
    assert memory.epoch == 3 and memory.at == 12
    assert drawn(RoundRobin(), drawing(Some(names=()), size=2), memory)[0] == ()


def test_new_clients_join_the_next_epoch():
    there = Some(names=NAMES[:4])
    ((names, memory),) = rounds(there, 2, 1)
    there.names = NAMES[:6]
    rest, memory, _ = drawn(RoundRobin(), drawing(there, 2, size=2), memory)
    assert sorted(names + rest) == list(NAMES[:4])
    both = [names for names, _ in rounds(there, 3, 2, memory)]
    assert sorted(itertools.chain(*both)) == list(NAMES[:6])


def test_of_a_long_queue_some_are_looked_at_and_go_to_its_end():
    roster = tuple(f"n{i:03d}" for i in range(200))
    memory = Turn(epoch=1, roster=roster, at=100, owed=tuple(range(50)))
    there = Some(names=roster, away=set(roster[:50]))
    names, after, _ = drawn(RoundRobin(), drawing(there, size=1), memory)
    assert len(names) == 1 and after.owed[: 50 - LOOKS] == tuple(range(LOOKS, 50))
    assert after.owed[50 - LOOKS : 50] == tuple(range(LOOKS))


def test_a_million_take_milliseconds_and_no_memory():
    there, start = Present(numbered(1_000_000)), time.perf_counter()
    cohorts = list(rounds(there, 100, 5))
    assert time.perf_counter() - start < 0.5
    assert cohorts[-1][1].roster is there.names and cohorts[-1][1].owed == ()
    assert len(set(itertools.chain(*(names for names, _ in cohorts)))) == 500


@pytest.mark.parametrize("count", [1, 2, 3, 255, 256, 257, 5000])
def test_a_shuffle_is_a_permutation(count):
    shuffle = Shuffle(b"key", count)
    assert len(shuffle) == count and sorted(shuffle) == list(range(count))
    for beyond in (-1, count):
        with pytest.raises(IndexError, match=f"place {beyond} of {count}"):
            shuffle[beyond]


def test_every_order_is_as_probable_as_any_other():
    orders = Counter(tuple(Shuffle(derive(b"key", i), 3)) for i in range(360))
    assert len(orders) == 6 and chi_squared(orders.values(), 60) < 20.5, "chi squared, 5 degrees, 0.1 %"
    firsts = Counter(Shuffle(derive(b"key", i), 100)[0] // 10 for i in range(1000))
    assert chi_squared(firsts.values(), 100) < 27.9, "9 degrees"


def test_a_size_is_needed_and_no_sampling_is_told():
    with pytest.raises(SelectionError, match=r"selection=round_robin: cohort.size is empty"):
        RoundRobin().check(CohortPolicy())
    RoundRobin().check(CohortPolicy(size=2))
    assert RoundRobin().sampling(drawing(Present(NAMES), size=2)) is None
