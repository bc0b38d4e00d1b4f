"""Layouts: every tensor of a model has one kind, and comes back as it was."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hansa.strategies import Layout, LayoutError

NORM = {
    "conv.weight": np.ones((2, 3), np.float32),
    "norm.running_mean": np.zeros(2, np.float32),
    "norm.num_batches_tracked": np.array(7, np.int64),
    "scale": np.array(0.5, np.float64),
    "mask": np.array([True, False]),
}


def test_each_tensor_goes_where_its_pattern_says():
    lay = Layout.of(NORM, private=["norm.*"], frozen=["mask"], fitted=["scale"])
    assert {e.name: e.kind for e in lay.entries} == {
        "conv.weight": "shared",
        "norm.running_mean": "private",
        "norm.num_batches_tracked": "private",
        "scale": "fitted",
        "mask": "frozen",
    }
    assert [lay.size(kind) for kind in ("shared", "private", "fitted", "frozen")] == [6, 3, 1, 2]


def test_tensors_come_back_with_their_shapes_and_types():
    lay = Layout.of(NORM, frozen=["mask"])
    back = lay.unpack(lay.pack(NORM, "shared"), "shared")
    assert back.keys() == NORM.keys() - {"mask"}
    for name, tensor in back.items():
        assert tensor.dtype == NORM[name].dtype and tensor.shape == NORM[name].shape
        assert isinstance(tensor, np.ndarray) and np.array_equal(tensor, NORM[name])
    assert lay.unpack(lay.pack(NORM, "frozen"), "frozen")["mask"].tolist() == [True, False]


def test_a_layout_knows_where_its_buffers_are():
    lay = Layout.of(NORM, private=["norm.running_mean"], frozen=["mask"], buffers=["norm.running_mean", "scale"])
    assert lay.buffers == (slice(7, 8),) and Layout.of(NORM, frozen=["mask"]).buffers == ()


def test_the_mean_of_integers_is_rounded():
    lay = Layout.of({"steps": np.array([0, 0], np.int64)})
    assert lay.unpack(np.array([2.6, -1.2], np.float32), "shared")["steps"].tolist() == [3, -1]


@given(st.lists(st.lists(st.integers(0, 3), max_size=3), min_size=1, max_size=5), st.randoms())
def test_any_shapes_survive_a_round_trip(shapes, random):
    tensors = {f"t{i}": np.full(shape, random.random(), np.float32) for i, shape in enumerate(shapes)}
    tensors["one"] = np.ones(1, np.float32)
    lay = Layout.of(tensors)
    back = lay.unpack(lay.pack(tensors, "shared"), "shared")
    assert all(np.array_equal(back[name], tensors[name]) for name in tensors)


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"private": ["nrom.*"]}, "private pattern 'nrom.*' matches no tensor.* nearest are norm"),
        ({"private": ["norm.*"], "frozen": ["mask", "norm.*"]}, "asked to be private and frozen"),
        ({}, "'mask' is bool, which has no average: make it frozen"),
        ({"frozen": ["*"]}, "shares no tensor"),
    ],
)
def test_what_cannot_be_laid_out_is_refused(asked, words):
    with pytest.raises(LayoutError, match=words):
        Layout.of(NORM, **asked)


def test_complex_tensors_are_refused():
    with pytest.raises(LayoutError, match="complex64"):
        Layout.of({"w": np.ones(2, np.complex64)})


def test_integers_that_a_float_cannot_hold_are_refused():
    lay = Layout.of({"steps": np.array(0, np.int64)})
    with pytest.raises(LayoutError, match="'steps' holds integers above"):
        lay.pack({"steps": np.array(2**24 + 1)}, "shared")
    with pytest.raises(LayoutError, match="'steps' holds integers above"):
        lay.pack({"steps": np.array(-(2**63))}, "shared")


def test_a_vector_of_another_model_is_refused():
    with pytest.raises(LayoutError, match="is it the same model"):
        Layout.of(NORM, frozen=["mask"]).unpack(np.zeros(3, np.float32), "shared")
