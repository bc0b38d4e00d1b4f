"""Contracts with flwr 1.41: what is sent comes back the same, and nothing else is read."""

from __future__ import annotations

import importlib.metadata
import pickle

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, ConfigRecord, Error, Message, RecordDict
from flwr.common.serde import message_from_proto, message_to_proto
from flwr.proto.message_pb2 import Message as ProtoMessage
from flwr.supercore.task_identity import TaskIdentity
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from hansa.fedlink.errors import MalformedMessage
from hansa.fedlink.flower import call_messages, read_call, read_reply, reply_message
from hansa.fedlink.messages import Call, Failure, Reply

TaskIdentity.task_id, TaskIdentity.run_id, TaskIdentity.node_id = 1, 2, 3
TYPES = st.sampled_from(["float32", "uint16", "uint32", "int64"])
ANY = TYPES.flatmap(lambda dtype: arrays(dtype, array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4)))


def test_the_version_is_the_one_that_these_contracts_were_written_for():
    assert importlib.metadata.version("flwr").startswith("1.41.")


def through_bytes(message):
    return message_from_proto(ProtoMessage.FromString(message_to_proto(message).SerializeToString()))


def call(**changed):
    return Call(**{"endpoint": "train.update", "run": "r", "round": 3, "request": 1, "digest": "d", **changed})


def sent(one):
    (message,) = call_messages({7: one}, 60)
    return message


def same(a, b):
    return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()


@given(
    st.dictionaries(st.text(min_size=1, max_size=5), ANY, max_size=3),
    ANY,
    st.none() | st.tuples(*[st.integers(0, 9)] * 2),
)
@settings(max_examples=50, deadline=None)
def test_calls_come_back_the_same(payload, fitted, counted):
    got = read_call(through_bytes(sent(call(payload=payload, fitted=fitted, counted=counted))))
    assert (got.endpoint, got.run, got.tag, got.digest, got.counted) == ("train.update", "r", (3, 1), "d", counted)
    assert got.payload.keys() == payload.keys() and all(same(got.payload[k], payload[k]) for k in payload)
    assert same(got.fitted, fitted)


@given(ANY, st.booleans())
@settings(max_examples=50, deadline=None)
def test_replies_come_back_the_same(row, staged):
    message = sent(call())
    got = read_reply(through_bytes(reply_message(Reply.to(call(), "riga", "d", row=row, staged=staged), message)))
    assert same(got.row, row) and (got.client, got.staged, got.tag) == ("riga", staged, (3, 1))
    failure = Failure(stage="training", kind="ValueError", text="odd")
    got = read_reply(
        through_bytes(reply_message(Reply.to(call(), "a", "d", failure=failure, settings={"a": "1"}), message))
    )
    assert got.failure == failure and got.settings == {"a": "1"} and got.row is None


def test_calls_of_one_payload_share_its_bytes():
    payload = {"model": np.ones(1000, np.float32)}
    first, second = call_messages({1: call(payload=payload), 2: call(payload=payload)}, None)
    assert first.content["payload"] is second.content["payload"]


HEAD = {"version": 1, "client": "a", "run": "r", "round": 1, "request": 0, "digest": "d", "staged": False}


def answer(head=HEAD, row=None):
    content = RecordDict({"hansa": ConfigRecord(head)} if head else {})
    if row is not None:
        content["row"] = ArrayRecord({"row": row})
    return Message(content, reply_to=sent(call()))


def raw(dtype="float32", shape=(2,), stype="hansa.raw", data=b"\0" * 8):
    return Array(dtype=dtype, shape=shape, stype=stype, data=data)


@pytest.mark.parametrize(
    ("message", "words"),
    [
        (answer(head=None), "not Hansa's"),
        (answer(head={**HEAD, "version": 2}), "of another version"),
        (answer(head={**HEAD, "round": "1"}), "the message's round is '1', not a int"),
        (answer(head={k: v for k, v in HEAD.items() if k != "client"}), "client is None"),
        (answer(head={**HEAD, "settings": "{"}), "settings cannot be read"),
        (answer(head={**HEAD, "settings": "[1]"}), "settings cannot be read"),
        (answer(row=raw(stype="numpy.ndarray")), "Hansa sends hansa.raw"),
        (answer(row=raw(dtype="object", data=pickle.dumps([1, 2]))), "hansa.raw/object"),
        (answer(row=raw(dtype="float64", data=b"\0" * 16)), "hansa.raw/float64"),
        (answer(row=raw(shape=(3,))), "has 8 bytes: it was cut or forged"),
        (answer(row=raw(shape=(-1, -2))), "cut or forged"),
        (answer(row=raw(shape=(2**40, 2**40))), "cut or forged"),
        (Message(Error(3, "node left"), reply_to=sent(call())), "Flower's error 3: node left"),
    ],
)
def test_what_is_malformed_is_told_in_one_line(message, words):
    with pytest.raises(MalformedMessage, match=words) as refused:
        read_reply(message)
    assert "\n" not in str(refused.value)
