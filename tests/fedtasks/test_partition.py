"""Splits are fair, and the same on every machine."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hansa.fedtasks import OptionError, UnknownClient, names
from hansa.fedtasks.partition import check_parts, position, stratify, stream


def test_randomness_is_a_function_of_its_key():
    assert stream("a", 1).integers(2**32) == stream("a", 1).integers(2**32)
    assert stream("a", 1).integers(2**32) == 2811923752, "splits must not move from one release to the next"
    keys = [("a", 1), ("a", 2), ("b", 1), ("a", "1"), ("a",)]
    assert len({int(stream(*key).integers(2**62)) for key in keys}) == len(keys)


@given(st.lists(st.integers(0, 2), min_size=1, max_size=60), st.floats(0, 0.999))
@settings(deadline=None)
def test_every_class_gives_its_share_and_keeps_one(classes, test):
    classes = np.array(classes)
    train, kept = stratify(classes, test, stream("test"))
    assert sorted([*train, *kept]) == list(range(len(classes)))
    for label in set(classes.tolist()):
        count, given_up = (classes == label).sum(), (classes[kept] == label).sum()
        assert given_up < count and (abs(given_up - test * count) <= 0.5 or given_up == count - 1)


def test_an_unknown_client_is_refused_with_the_names_there_are():
    assert position("client-3", names(10)) == 3
    with pytest.raises(UnknownClient, match="no client 'x' in this task: its clients are a, b"):
        position("x", ("a", "b"))
    with pytest.raises(UnknownClient, match="client-007 and 992 more"):
        position("x", names(1000))


@pytest.mark.parametrize("parts", [0, -1, 21])
def test_parts_that_cannot_be_dealt_out_are_refused(parts):
    with pytest.raises(OptionError, match=f"task.parts={parts}: .* choose 1 to 20"):
        check_parts(parts, 20)
