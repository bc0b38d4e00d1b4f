"""Heads and bodies of the link: what is packed comes back the same, and nothing else is let in."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hansa.fedlink.errors import MalformedMessage
from hansa.fedlink.messages import Call, Failure, Reply
from hansa.fedlink.packing import Body, pack_call, pack_reply, read_call, read_reply

MODEL = {"model": np.arange(6, dtype=np.float32).reshape(2, 3), "control": np.ones(0, np.float32)}
CALL = Call(endpoint="train.update", run="r", round=3, request=1, digest="d", counted=(2, 0), payload=MODEL)
ROW = np.arange(5, dtype=np.uint16)


def joined(body: Body, start: int = 0, longest: int = 7) -> bytes:
    return b"".join(body.pieces(start, longest))


def reply(**changed):
    return Reply.to(CALL, "riga", "d", **{"row": ROW, "staged": True, **changed})


def read(head, raw):
    return read_reply(head, len(raw), lambda dtype, size: np.frombuffer(raw, dtype, size))


@pytest.mark.parametrize("fitted", [None, np.array([1.5, -2], np.float32)])
@pytest.mark.parametrize("counted", [None, (2, 0)])
def test_calls_come_back_the_same(fitted, counted):
    call = Call(
        endpoint="query.x", run="", round=0, request=9, digest="", counted=counted, payload=MODEL, fitted=fitted
    )
    head, body = pack_call(call)
    back = read_call(head, joined(body))
    assert (back.endpoint, back.tag, back.counted) == ("query.x", (0, 9), counted)
    assert back.payload.keys() == MODEL.keys() and (back.fitted is None) == (fitted is None)
    assert all(np.array_equal(back.payload[name], MODEL[name]) for name in MODEL)
    assert fitted is None or np.array_equal(back.fitted, fitted)


def test_a_body_shares_the_models_memory_and_can_be_read_from_anywhere():
    _, body = pack_call(CALL)
    assert np.shares_memory(body.arrays[0], MODEL["model"]) and body.size == 24
    whole = joined(body)
    for start in range(body.size + 1):
        assert joined(body, start) == whole[start:]
    assert all(len(piece) <= 7 for piece in body.pieces(0, 7))


@pytest.mark.parametrize(
    "changed",
    [
        {},
        {"row": None, "staged": False},
        {
            "row": None,
            "failure": Failure(stage="training", kind="ValueError", text="odd\nlines"),
            "differs": ("a",),
        },
    ],
)
def test_replies_come_back_the_same(changed):
    sent = reply(**changed)
    head, body = pack_reply(sent)
    back = read(head, joined(body))
    assert (back.client, back.tag, back.staged, back.failure) == ("riga", (3, 1), sent.staged, sent.failure)
    assert back.differs == sent.differs and (back.row is None) == (sent.row is None)
    assert sent.row is None or (back.row.dtype == ROW.dtype and np.array_equal(back.row, ROW))


def test_types_that_the_link_does_not_carry_are_refused_with_the_remedy():
    with pytest.raises(MalformedMessage, match=r"'model' is float64: Hansa sends .*astype"):
        pack_call(Call(endpoint="x", run="", round=0, request=0, digest="", payload={"model": np.ones(2)}))


@pytest.mark.parametrize("cut", [0, 4, 23])
def test_a_body_that_was_cut_or_has_more_is_refused(cut):
    head, body = pack_call(CALL)
    for raw in (joined(body)[:cut], joined(body) + b"x"):
        with pytest.raises(MalformedMessage, match="cut or forged"):
            read_call(head, raw)
    head, _ = pack_reply(reply())
    with pytest.raises(MalformedMessage, match="cut or forged"):
        read(head, b"x" * cut)


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
)


@given(field=st.sampled_from(sorted(json.loads(pack_call(CALL)[0]))), value=VALUES)
@settings(max_examples=300, deadline=None)
def test_any_call_is_read_or_refused_and_nothing_else(field, value):
    head, body = pack_call(CALL)
    _tried(lambda raw: read_call(raw, joined(body)), head, field, value)


@given(field=st.sampled_from(sorted(json.loads(pack_reply(reply())[0]))), value=VALUES)
@settings(max_examples=300, deadline=None)
def test_any_reply_is_read_or_refused_and_nothing_else(field, value):
    head, body = pack_reply(reply())
    _tried(lambda raw: read(raw, joined(body)), head, field, value)


def _tried(read_it, head, field, value):
    told = ""
    try:
        read_it(json.dumps({**json.loads(head), field: value}).encode())
    except MalformedMessage as error:
        told = str(error)
    assert "\n" not in told and len(told) < 300


@pytest.mark.parametrize("raw", [b"", b"\xff", b"[]", b'{"version": 2}', b"[" * 100_000])
def test_what_is_no_head_is_refused(raw):
    with pytest.raises(MalformedMessage, match="install the same hansa"):
        read_call(raw, b"")
