"""Contracts with flwr 1.41: what is sent comes back the same, and nothing else is read."""

from __future__ import annotations

import importlib.metadata
import io
import pickle
import tracemalloc
from dataclasses import replace

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, ConfigRecord, Error, Message, RecordDict
from flwr.common.serde import message_from_proto, message_to_proto
from flwr.proto.message_pb2 import Message as ProtoMessage
from flwr.supercore.inflatable.inflatable_object import get_all_nested_objects
from flwr.supercore.inflatable.inflatable_utils import inflate_object_from_contents
from flwr.supercore.task_identity import TaskIdentity
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from hansa.fedlink.errors import LinkError, MalformedMessage
from hansa.fedlink.flower import call_messages, read_call, read_reply, reply_message
from hansa.fedlink.messages import Call, Failure, Reply
from hansa.fedlink.texts import plain

TaskIdentity.task_id, TaskIdentity.run_id, TaskIdentity.node_id = 1, 2, 3
TYPES = st.sampled_from(["float32", "uint16", "uint32", "int64"])
NAMES = st.text(min_size=1, max_size=5).filter(plain)
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
    st.dictionaries(NAMES, ANY, max_size=3),
    ANY,
    st.none() | st.tuples(*[st.integers(0, 9)] * 2),
)
@settings(max_examples=50, deadline=None)
def test_calls_come_back_the_same(payload, fitted, counted):
    got = read_call(through_bytes(sent(call(payload=payload, fitted=fitted, counted=counted))))
    assert (got.endpoint, got.run, got.tag, got.digest, got.counted) == ("train.update", "r", (3, 1), "d", counted)
    assert got.payload.keys() == payload.keys() and all(same(got.payload[k], payload[k]) for k in payload)
    assert same(got.fitted, fitted) and got.fields == ()
    assert read_call(through_bytes(sent(call(fields=("seed=0f", "ß=1"))))).fields == ("seed=0f", "ß=1")


@given(ANY, st.booleans())
@settings(max_examples=50, deadline=None)
def test_replies_come_back_the_same(row, staged):
    message = sent(call())
    got = read_reply(through_bytes(reply_message(Reply.to(call(), "riga", "d", row=row, staged=staged), message)))
    assert same(got.row, row) and (got.client, got.staged, got.tag) == ("riga", staged, (3, 1))
    failure = Failure(stage="training", kind="ValueError", text="odd")
    got = read_reply(through_bytes(reply_message(Reply.to(call(), "a", "d", failure=failure, differs=("a",)), message)))
    assert got.failure == failure and got.differs == ("a",) and got.row is None


def test_calls_of_one_payload_share_its_bytes():
    payload = {"model": np.ones(1000, np.float32)}
    first, second = call_messages({1: call(payload=payload), 2: call(payload=payload)}, None)
    assert first.content["payload"] is second.content["payload"]


HEAD = {"version": 1, "client": "a", "run": "r", "round": 1, "request": 0, "digest": "d", "staged": False}


def answer(head=HEAD, row=None):
    content = RecordDict({"hansa": ConfigRecord(head)} if head else {})
    if row is not None:
        content["row"] = ArrayRecord({"row": row}) if isinstance(row, Array) else row
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
        (answer(head={**HEAD, "differs": "seed"}), "differs is 'seed', not a list"),
        (answer(head={**HEAD, "differs": [1]}), "differs are no words"),
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


def test_the_error_tree_has_one_root():
    assert issubclass(MalformedMessage, LinkError)


def through_objects(message):
    """Take a message apart into objects by their hashes and put it together, as SuperLink does it."""
    sent = {name: one.deflate() for name, one in get_all_nested_objects(message).items()}
    return inflate_object_from_contents(message.object_id, sent)


@given(st.dictionaries(NAMES, ANY, max_size=3), ANY)
@settings(max_examples=30, deadline=None)
def test_calls_come_back_the_same_from_the_superlinks_objects(payload, fitted):
    got = read_call(through_objects(sent(call(payload=payload, fitted=fitted, counted=(2, 1)))))
    assert got.payload.keys() == payload.keys() and all(same(got.payload[k], payload[k]) for k in payload)
    assert same(got.fitted, fitted) and got.counted == (2, 1)


@pytest.mark.parametrize("way", [through_bytes, through_objects])
def test_replies_come_back_the_same_either_way(way):
    full = Reply.to(
        call(),
        "Lübeck/ ☃",
        "d",
        row=np.array([np.nan, np.inf, -0.0, 1e-45], np.float32),
        staged=True,
        differs=("task.net", "ß"),
    )
    got = read_reply(way(reply_message(full, sent(call()))))
    assert same(got.row, full.row) and replace(got, row=None) == replace(full, row=None)
    bare = Reply.to(call(), "riga", "d")
    assert read_reply(way(reply_message(bare, sent(call())))) == bare


def test_a_reply_goes_back_to_where_the_call_came_from():
    message = sent(call())
    metadata = reply_message(Reply.to(call(), "riga", "d"), message).metadata
    assert (metadata.src_node_id, metadata.dst_node_id) == (7, message.metadata.src_node_id)
    assert metadata.message_type == "train.update"


def test_calls_are_void_after_their_time():
    limited, unlimited = (call_messages({7: call()}, seconds)[0].metadata.ttl for seconds in (60, None))
    assert limited == 60 < unlimited


def test_calls_of_two_payloads_keep_their_own():
    payloads = [{"model": np.full(3, i, np.float32)} for i in range(2)]
    messages = call_messages({i: call(payload=payloads[i % 2]) for i in range(4)}, None)
    assert [read_call(m).payload["model"][0] for m in messages] == [0, 1, 0, 1]
    assert messages[0].content["payload"]["model"].data is messages[2].content["payload"]["model"].data


def test_arrays_of_any_layout_are_sent_as_what_they_hold():
    grid = np.arange(12, dtype=np.float32).reshape(3, 4)
    odd = {"big": grid.astype(">f4"), "turned": grid.T, "every other": grid[::2, ::-1], "point": grid[0, 1:2].squeeze()}
    got = read_call(through_bytes(sent(call(payload=odd)))).payload
    assert all(np.array_equal(got[name], odd[name]) and got[name].shape == odd[name].shape for name in odd)
    assert {array.dtype for array in got.values()} == {np.dtype("<f4")}


def test_what_is_read_is_a_view_of_the_message_and_cannot_be_written():
    message = sent(call(payload={"model": np.ones(3, np.float32)}))
    model = read_call(message).payload["model"]
    assert not model.flags.owndata
    with pytest.raises(ValueError, match="read-only"):
        model[0] = 2


@pytest.mark.parametrize("array", [np.ones(2), np.ones(2, bool), np.array([{}]), np.array(["a"]), np.ones(2, "f2")])
def test_arrays_that_no_client_would_read_are_not_sent(array):
    with pytest.raises(MalformedMessage, match=r"'control' is .*Hansa sends float32, .*convert it by astype"):
        call_messages({7: call(payload={"control": array})}, None)


CALL_HEAD = {"version": 1, "run": "r", "round": 1, "request": 0, "digest": "d", "counted": []}


def asked(head=CALL_HEAD, **records):
    content = RecordDict({"hansa": ConfigRecord(head), "payload": ArrayRecord(), **records})
    return Message(content, dst_node_id=7, message_type="train.update")


def without(name):
    message = asked()
    del message.content[name]
    return message


@pytest.mark.parametrize(
    ("message", "words"),
    [
        (without("hansa"), "not Hansa's"),
        (without("payload"), "has no arrays 'payload'"),
        (asked(hansa=ArrayRecord()), "not Hansa's"),
        (asked(payload=ConfigRecord({"model": 1})), "has no arrays 'payload'"),
        (asked(fitted=ConfigRecord()), "has no arrays 'fitted'"),
        (asked(fitted=ArrayRecord()), "fitted is not one array"),
        (asked(fitted=ArrayRecord({"fitted": raw(), "more": raw()})), "fitted is not one array"),
        (asked({**CALL_HEAD, "version": "1"}), "of another version"),
        (asked({**CALL_HEAD, "round": True}), "round is True, not a int"),
        (asked({**CALL_HEAD, "round": 1.0}), "round is 1.0, not a int"),
        (asked({**CALL_HEAD, "request": [1]}), r"request is \[1\], not a int"),
        (asked({**CALL_HEAD, "run": b"r"}), "run is b'r', not a str"),
        (asked({**CALL_HEAD, "digest": 3}), "digest is 3, not a str"),
        (asked({**CALL_HEAD, "counted": "12"}), "counted is '12', not a list"),
        (asked({**CALL_HEAD, "counted": ["a", "b"]}), "counted is .*not a round and a request"),
        (asked({**CALL_HEAD, "counted": [b"1", b"2"]}), "not a round and a request"),
        (asked({**CALL_HEAD, "counted": [1.5, 2.5]}), "not a round and a request"),
        (asked({**CALL_HEAD, "counted": [True, False]}), "not a round and a request"),
        (asked({**CALL_HEAD, "counted": [1]}), "not a round and a request"),
        (asked({**CALL_HEAD, "counted": [1, 2, 3]}), "not a round and a request"),
        (asked(payload=ArrayRecord({"model": raw(stype="pickle")})), "'model' is pickle/float32"),
    ],
)
def test_a_malformed_call_is_told_in_one_line(message, words):
    with pytest.raises(MalformedMessage, match=words) as refused:
        read_call(message)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("message", "words"),
    [
        (answer({**HEAD, "staged": 1}), "staged is 1, not a bool"),
        (answer({**HEAD, "client": ["a", "b"]}), "client is .*, not a str"),
        (answer({**HEAD, "stage": "training"}), "kind is None, not a str"),
        (answer({**HEAD, "stage": 1, "kind": "E", "text": "t"}), "stage is 1, not a str"),
        (answer({**HEAD, "differs": 1}), "differs is 1, not a list"),
        (answer({**HEAD, "differs": [b"seed"]}), "differs are no words"),
        (answer(row=ArrayRecord()), "row is not one array"),
        (answer(row=ArrayRecord({"other": raw()})), "row is not one array"),
        (answer(row=ConfigRecord()), "has no arrays 'row'"),
        (answer(row=Array(np.ones(2, np.float32))), "Hansa sends hansa.raw"),
        (answer(row=raw("float32\n")), "Hansa sends"),
        (answer(row=raw("<f4")), "hansa.raw/<f4"),
        (answer(row=raw("V8", (1,))), "hansa.raw/V8"),
        (answer(row=raw("float32,float32", (1,))), "Hansa sends hansa.raw"),
    ],
)
def test_a_malformed_reply_is_told_in_one_line(message, words):
    with pytest.raises(MalformedMessage, match=words) as refused:
        read_reply(message)
    assert len(str(refused.value).splitlines()) == 1


class Exploding:
    def __reduce__(self):
        return pytest.fail, ("the bytes of a message were executed",)


def test_pickled_bytes_are_never_executed():
    buffer = io.BytesIO()
    np.save(buffer, np.array([Exploding()]), allow_pickle=True)
    for stype, dtype in (("hansa.raw", "object"), ("numpy.ndarray", "object"), ("numpy.ndarray", "float32")):
        with pytest.raises(MalformedMessage, match="Hansa sends"):
            read_reply(answer(row=raw(dtype, (1,), stype, buffer.getvalue())))
    data = buffer.getvalue()[:100]
    row = read_reply(answer(row=raw("uint16", (50,), data=data))).row
    assert row.tobytes() == data, "as raw numbers they are but numbers"


@pytest.mark.parametrize(
    "shape",
    [
        (-1,),
        (-2, -1),
        (2, -1),
        (3,),
        (),
        (0,),
        (2**62,),
        (2**40, 2**40),
        (2**63 - 1, 2),
        (2**64,),
        (10**30, 10**30),
        (1,) * 65 + (2,),
        (0, 2**62),
        (0, 2**70),
        (2, 2**64, 0),
    ],
)
def test_a_forged_shape_is_refused_without_taking_memory(shape):
    message = answer(row=raw(shape=shape, data=b"" if 0 in shape[1:] or 2**62 in shape[1:] else b"\0" * 8))
    tracemalloc.start()
    try:
        with pytest.raises(MalformedMessage, match=r"has \d bytes: it was cut or forged") as refused:
            read_reply(message)
        assert tracemalloc.get_traced_memory()[1] < 100_000
    finally:
        tracemalloc.stop()
    assert len(str(refused.value)) < 300


@given(st.binary(max_size=40), st.lists(st.integers(-3, 9), max_size=4), TYPES)
@settings(max_examples=300, deadline=None)
def test_bytes_and_shape_either_agree_or_are_refused(data, shape, dtype):
    size = np.dtype(dtype).itemsize
    agree = min(shape, default=0) >= 0 and len(data) == size * int(np.prod(shape, dtype=object))
    try:
        row = read_reply(answer(row=raw(dtype, tuple(shape), data=data))).row
    except MalformedMessage:
        assert not agree
    else:
        assert agree and row.tobytes() == data and row.shape == tuple(shape)


VALUES = st.booleans() | st.integers(-9, 9) | st.floats() | st.text(max_size=9) | st.binary(max_size=9)
VALUES |= st.lists(st.integers(), max_size=3) | st.lists(st.text(max_size=3), max_size=3)
FIELDS = st.sampled_from([*{**HEAD, **CALL_HEAD}, "differs", "fields", "stage", "kind", "text"])
NUMBERS = st.builds(raw, st.sampled_from(["float32", "O", "int64", "datetime64[s]"]), st.sampled_from([(2,), (1,), ()]))
RECORDS = st.dictionaries(FIELDS, VALUES, max_size=5).map(lambda head: ConfigRecord({**CALL_HEAD, **HEAD, **head}))
RECORDS |= st.dictionaries(st.sampled_from(["row", "fitted", "model"]), NUMBERS, max_size=2).map(ArrayRecord)


@given(st.dictionaries(st.sampled_from(["hansa", "payload", "row", "fitted"]), RECORDS, max_size=4))
@settings(max_examples=400, deadline=None)
def test_any_message_is_read_or_refused_and_nothing_else(records):
    for read in (read_call, read_reply):
        try:
            got = read(Message(RecordDict(records), dst_node_id=7, message_type="train.update"))
        except MalformedMessage:
            continue
        assert isinstance(got, Call | Reply) and type(got.round) is int


@pytest.mark.parametrize(
    ("reason", "told"),
    [
        ("<class 'ValueError'>:<'line one\nline two'>", "<class 'ValueError'>:<'line one line two'>"),
        (None, "no reason given"),
        ("\n", ""),
    ],
)
def test_errors_of_flower_are_one_line(reason, told):
    message = through_bytes(Message(Error(2, reason), reply_to=sent(call())))
    for read in (read_call, read_reply):
        with pytest.raises(MalformedMessage) as refused:
            read(message)
        assert str(refused.value) == f"Flower's error 2: {told}"


def test_what_others_wrote_is_cut_short_in_messages():
    for message in (
        answer({**HEAD, "round": "x" * 10**6}),
        answer({**HEAD, "round": ["x"] * 10**5}),
        answer(row=raw(stype="x" * 10**6)),
        Message(Error(2, "x" * 10**6), reply_to=sent(call())),
    ):
        with pytest.raises(MalformedMessage) as refused:
            read_reply(message)
        assert len(str(refused.value)) < 600
