"""Names by number behave like the tuple of the same names, however many there are."""

from __future__ import annotations

import pickle
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hansa.fedtasks import names

STRANGE = ["client-3", "client-03", "client-003", "client-12", "client--1", "client-", "x", 3, None, "client-3 "]
STRANGE += ["client-٣", f"client-{'9' * 5000}"]


def written(clients: int) -> tuple[str, ...]:
    """The names as they have always been."""
    return tuple(f"client-{i:0{len(str(clients - 1))}}" for i in range(clients))


@pytest.mark.parametrize("clients", [1, 2, 10, 11, 1000])
def test_names_are_those_of_the_tuple_and_sorted(clients):
    assert tuple(names(clients)) == written(clients) == tuple(sorted(names(clients)))
    assert names(clients) == written(clients) and written(clients) == names(clients)
    assert hash(names(clients)) == hash(written(clients)) and len({names(clients), written(clients)}) == 1


@given(st.integers(1, 120), st.slices(120))
def test_a_slice_is_that_of_the_tuple(clients, where):
    part, expected = names(clients)[where], written(clients)[where]
    assert part == expected and [part.index(name) for name in expected] == [*range(len(expected))]
    assert tuple(reversed(part)) == expected[::-1]


@given(st.integers(1, 30), st.integers(-40, 40), st.integers(-40, 40))
def test_places_are_looked_for_within_bounds(clients, start, stop):
    for name in written(clients):
        if name in written(clients)[start:stop]:
            assert names(clients).index(name, start, stop) == written(clients).index(name, start, stop)
        else:
            with pytest.raises(ValueError, match="none of these names"):
                names(clients).index(name, start, stop)


@pytest.mark.parametrize("clients", [3, 10, 11, 1000])
@pytest.mark.parametrize("name", STRANGE, ids=range(len(STRANGE)))
def test_what_is_no_name_is_not_found(clients, name):
    assert (name in names(clients)) == (name in written(clients))
    assert names(clients).count(name) == written(clients).count(name)
    if name not in written(clients):
        with pytest.raises(ValueError, match="is none of these names"):
            names(clients).index(name)


def test_names_differ_from_what_they_are_not():
    assert names(3) != names(4) and names(10)[:3] == names(3) and names(11)[:3] != names(3)
    assert names(3) != list(written(3)) and names(2) != ("client-0", 1) and names(0) == ()
    with pytest.raises(IndexError):
        names(3)[3]


def test_a_million_names_take_no_memory():
    tracemalloc.start()
    try:
        many = names(1_000_000)
        assert (len(many), many[-1], many.index("client-765432")) == (1_000_000, "client-999999", 765_432)
        assert "client-1000000" not in many and len(many[10:]) == 999_990 and many == names(1_000_000)
        assert tracemalloc.get_traced_memory()[1] < 100_000
    finally:
        tracemalloc.stop()
    assert pickle.loads(pickle.dumps(many)) == many and len(pickle.dumps(many)) < 200


def test_many_names_are_written_in_short():
    assert repr(names(3)) == repr(written(3))
    assert repr(names(1000)) == "('client-000', 'client-001', ..., 'client-999')"
