"""Flower's own strategies over Hansa's link: a stock ServerApp's calls, stock ClientApps, real TLS between them."""

from __future__ import annotations

import io
import math
import threading
import time
from contextlib import ExitStack, contextmanager

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, ConfigRecord, Context, Error, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from flwr.common.constant import ErrorCode
from flwr.proto.message_pb2 import Message as ProtoMessage
from flwr.serverapp.strategy import FedAvg, FedMedian

from hansa.fedlink import flower
from hansa.fedlink.errors import MalformedMessage
from hansa.fedlink.flower import from_bytes, to_bytes
from hansa.fedlink.packing import FLOWER
from hansa.fedlink.protocol import Desk, Limits
from hansa.fedlink.server import Server
from hansa.fedserver import waiting
from hansa.fedserver.link_grid import LinkGrid, node_id
from hansa.fedserver.presence import Presence
from tests.devices import Caller, Plant

NAMES = ("bergen", "luebeck", "riga")
app = ClientApp()


@app.train()
def train(message: Message, context: Context) -> Message:
    """Return the model plus the node's share."""
    (values,) = message.content["arrays"].to_numpy_ndarrays()
    arrays = ArrayRecord({"w": Array(values + context.node_config["share"])})
    return Message(RecordDict({"arrays": arrays, "metrics": MetricRecord({"num-examples": 1})}), reply_to=message)


@app.evaluate()
def evaluate(message: Message, context: Context) -> Message:
    raise ValueError("no data here")


def runs(share: float):
    context = Context(run_id=7, node_id=1, node_config={"share": share}, state=RecordDict(), run_config={})

    def work(head: bytes, body: bytes) -> tuple[bytes, bytes]:
        assert b'"flower": true' in head
        return b"{}", to_bytes(app(from_bytes(body), context))

    return work


@pytest.fixture(scope="module")
def plant(tmp_path_factory):
    return Plant.make(tmp_path_factory.mktemp("plant") / "server")


@contextmanager
def grid(plant, spool, works, **limits):
    desk = Desk(software="test", run="7", limits=Limits(**limits))
    with Server(desk=desk, address="127.0.0.1:0", folder=plant.folder, spool=spool) as server, ExitStack() as started:
        presence = Presence(clock=time.monotonic, say=lambda text: None, patience=0.3)
        there = LinkGrid(server=server, presence=presence, clock=time.monotonic, run_id=7)
        for name, work in works.items():
            started.callback(Caller.of(server.port, name, work, plant).call().drop)
        end = time.monotonic() + 20
        while len(there.get_node_ids()) < len(works) and time.monotonic() < end:
            time.sleep(0.01)
        yield there


@pytest.mark.parametrize(("strategy", "expected"), [(FedAvg, 3 * 2.0), (FedMedian, 3 * 1.0)])
def test_stock_strategies_learn_over_the_link(plant, tmp_path, strategy, expected):
    shares = dict(zip(NAMES, (0.0, 1.0, 5.0), strict=True))
    with grid(plant, tmp_path, {name: runs(share) for name, share in shares.items()}) as there:
        rule = strategy(fraction_evaluate=0.0, min_train_nodes=3, min_available_nodes=3)
        start = ArrayRecord({"w": Array(np.zeros(1000, np.float32))})
        result = rule.start(there, start, num_rounds=3, timeout=30)
        assert there.get_node_ids() == [node_id(name) for name in NAMES]
        assert {node.name for node in there.get_nodes()} == set(NAMES)
    (learnt,) = result.arrays.to_numpy_ndarrays()
    assert np.allclose(learnt, expected) and learnt.shape == (1000,)


def ask(there, node, kind="train"):
    content = RecordDict({"arrays": ArrayRecord({"w": Array(np.ones(3, np.float32))}), "config": ConfigRecord()})
    return there.create_message(content, kind, node, "1")


def test_it_is_told_whom_an_app_waits_for_and_how_long_its_rounds_take(plant, tmp_path, monkeypatch):
    monkeypatch.setattr(waiting, "FIRST", 0.1)
    told = threading.Event()

    def slow(head, body):
        assert told.wait(20)
        return runs(1.0)(head, body)

    with grid(plant, tmp_path, {"riga": slow, "bergen": runs(1.0)}) as there:
        there._vigil.say = lambda text: told.set() if text.startswith("the app waits for riga (working") else None
        replies = there.send_and_receive([ask(there, node) for node in there.get_node_ids()], timeout=30)
        assert len(replies) == 2 and not any(reply.has_error() for reply in replies)
        assert there.tempo.usual is not None and there.tempo.usual >= 0.1


def test_what_has_no_answer_is_replied_to_with_an_error_that_says_why(plant, tmp_path):
    works = {"bergen": runs(1.0), "luebeck": lambda head, body: (b"", b"not a message")}
    with grid(plant, tmp_path, works) as there:
        sent = [ask(there, node_id("bergen")), ask(there, node_id("luebeck")), ask(there, 99)]
        replies = {reply.metadata.src_node_id: reply for reply in there.send_and_receive(sent, timeout=20)}
        assert not replies[node_id("bergen")].has_error()
        assert "no message of Flower's" in replies[node_id("luebeck")].error.reason
        assert "node 99 is not connected" in replies[99].error.reason
        assert replies[99].error.code == ErrorCode.NODE_UNAVAILABLE


def test_late_replies_are_taken_back_and_gone_nodes_given_up(plant, tmp_path):
    def slow(head: bytes, body: bytes) -> tuple[bytes, bytes]:
        time.sleep(1)
        return runs(1.0)(head, body)

    with grid(plant, tmp_path, {"bergen": slow}) as there:
        assert there.send_and_receive([ask(there, node_id("bergen"))], timeout=0.2) == []
        assert not there._waiting and not there.server.desk.open("bergen")


def test_a_node_whose_line_stays_down_is_given_up(plant, tmp_path):
    def leave(head: bytes, body: bytes) -> tuple[bytes, bytes]:
        raise ConnectionError

    with grid(plant, tmp_path, {"bergen": leave}) as there:
        (reply,) = there.send_and_receive([ask(there, node_id("bergen"))], timeout=20)
    assert reply.has_error() and "the line of 'bergen' has been down for 0 s" in reply.error.reason


def test_ids_of_nodes_are_positive_and_stay():
    assert node_id("bergen") == node_id("bergen") != node_id("riga")
    assert all(0 < node_id(str(number)) < 2**63 for number in range(1000))


@pytest.mark.parametrize("raw", [b"", b"\xff" * 9, b"pickle"])
def test_bytes_that_are_no_message_are_refused(raw):
    with pytest.raises(MalformedMessage, match="no message of Flower's"):
        from_bytes(raw)


def _no_array(proto):
    proto.content.items[0].array_record.items[0].value.data = b"no array"


def _another_shape(proto):
    proto.content.items[0].array_record.items[0].value.shape[:] = [4]


def _cut(proto):
    array = proto.content.items[0].array_record.items[0].value
    array.data = array.data[:-1]


def _objects(proto):
    array = proto.content.items[0].array_record.items[0].value
    array.data, array.dtype = pickled(), "object"


def pickled() -> bytes:
    file = io.BytesIO()
    np.save(file, np.array([{}, {}, {}], object), allow_pickle=True)
    return file.getvalue()


def _zip(proto):
    file = io.BytesIO()
    np.savez(file, np.ones(3, np.float32))
    proto.content.items[0].array_record.items[0].value.data = file.getvalue()


def _huge(proto):
    array, header = proto.content.items[0].array_record.items[0].value, io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "<f4", "fortran_order": False, "shape": (2**31 - 1,)})
    array.data, array.shape[:] = header.getvalue(), [2**31 - 1]


def _both(proto):
    proto.error.code = 1


FORGED = {
    "another's": (lambda proto: setattr(proto.metadata, "src_node_id", node_id("bergen")), "not one of 'luebeck'"),
    "run": (lambda proto: setattr(proto.metadata, "run_id", 8), "not one of 'luebeck'"),
    "type": (lambda proto: setattr(proto.metadata, "message_type", "evaluate"), "not one of 'luebeck'"),
    "group": (lambda proto: setattr(proto.metadata, "group_id", "2"), "not one of 'luebeck'"),
    "to another": (lambda proto: setattr(proto.metadata, "reply_to_message_id", "7/0"), "to another message"),
    "no time": (lambda proto: setattr(proto.metadata, "created_at", math.nan), "from no time"),
    "no end": (lambda proto: setattr(proto.metadata, "ttl", math.inf), "from no time"),
    "nothing": (lambda proto: proto.ClearField("content"), "no message of Flower's"),
    "both": (_both, "no message of Flower's"),
    "no metadata": (lambda proto: proto.ClearField("metadata"), "no message of Flower's"),
    "no array": (_no_array, "'arrays/w' of 'luebeck' cannot be read"),
    "another shape": (_another_shape, "cannot be read"),
    "cut": (_cut, "cannot be read"),
    "objects": (_objects, "cannot be read"),
    "zip": (_zip, "cannot be read"),
    "huge": (_huge, "cannot be read"),
    "stype": (
        lambda proto: setattr(proto.content.items[0].array_record.items[0].value, "stype", "pickle"),
        "cannot be read",
    ),
}


@pytest.mark.parametrize("forged", FORGED)
def test_a_forged_reply_is_its_sender_s_refusal_and_no_other_s(plant, tmp_path, forged):
    forge, told = FORGED[forged]

    def forging(head: bytes, body: bytes) -> tuple[bytes, bytes]:
        proto = ProtoMessage.FromString(runs(1.0)(head, body)[1])
        forge(proto)
        return FLOWER, proto.SerializeToString()

    with grid(plant, tmp_path, {"bergen": runs(1.0), "luebeck": forging}) as there:
        sent = [ask(there, node_id(name)) for name in ("bergen", "luebeck")]
        replies = {reply.metadata.src_node_id: reply for reply in there.send_and_receive(sent, timeout=20)}
        assert not replies[node_id("bergen")].has_error()
        assert told in replies[node_id("luebeck")].error.reason


def test_a_device_s_error_is_one_printable_line(plant, tmp_path):
    def evil(head: bytes, body: bytes) -> tuple[bytes, bytes]:
        error = Message(Error(code=3, reason="\x1b]0;title\x07 a\nforged line" + "x" * 9000), reply_to=from_bytes(body))
        return FLOWER, to_bytes(error)

    with grid(plant, tmp_path, {"bergen": evil}) as there:
        (reply,) = there.send_and_receive([ask(there, node_id("bergen"))], timeout=20)
    assert reply.error.code == 3 and reply.error.reason.isprintable() and len(reply.error.reason) <= 500


def test_a_reply_may_be_little_larger_than_what_was_asked_unless_the_operator_says_so(plant, tmp_path):
    limits = []
    with grid(plant, tmp_path, {"bergen": runs(1.0)}) as there:
        submit = there.server.submit

        def look(name, work, body):
            limits.append(work.answer_limit)
            submit(name, work, body)

        there.server.submit = look
        for there.largest in (None, 2000):
            (reply,) = there.send_and_receive([ask(there, node_id("bergen"))], timeout=20)
            assert not reply.has_error()
    assert 2**26 < limits[0] < 2**26 + 2**12 and limits[1] == 2000


@pytest.mark.parametrize("error", [AttributeError("x"), RecursionError(), OverflowError(), IndexError()])
def test_whatever_flower_s_reader_raises_is_the_sender_s_refusal(monkeypatch, error):
    def raises(proto):
        raise error

    monkeypatch.setattr(flower, "message_from_proto", raises)
    with pytest.raises(MalformedMessage, match="no message of Flower's"):
        flower.from_bytes(b"")
