"""A Flower message at a device: the approved ClientApp answers, or Flower's own error says why none does."""

from __future__ import annotations

import hashlib

import pytest
from flwr.app import Message, RecordDict
from flwr.supercore.task_identity import TaskIdentity

from hansa.conf.components import load
from hansa.fedclient.flower_node import answer
from hansa.fedlink.errors import MalformedMessage
from hansa.fedlink.flower import from_bytes, read_state, stamp, to_bytes

APP = """
from flwr.app import ConfigRecord, Message, RecordDict
from flwr.clientapp import ClientApp

app, other = ClientApp(), None

@app.query()
def query(message, context):
    context.state["kept"] = ConfigRecord({"seen": context.state["kept"]["seen"] + 1 if "kept" in context.state else 1})
    told = {**context.node_config, **context.run_config, "seen": context.state["kept"]["seen"]}
    return Message(RecordDict({"told": ConfigRecord(told)}), reply_to=message)
"""


@pytest.fixture
def order(tmp_path):
    path = tmp_path / "app.py"
    path.write_text(APP)
    task = {"file": str(path), "class": "app", "sha256": hashlib.sha256(APP.encode()).hexdigest()}
    return {"task": task, "state": str(tmp_path / "state"), "run": ["lr=0.5", "name=x y"], "node": ["share=2"]}


def ask(order, run=7):
    TaskIdentity.task_id, TaskIdentity.run_id, TaskIdentity.node_id = 1, run, 1
    return from_bytes(answer(to_bytes(stamp(Message(RecordDict(), 5, "query"), "1")), order, load)[0])


def test_the_app_sees_both_configurations_and_its_state_of_the_run(order):
    for seen in (1, 2):
        assert dict(ask(order).content["told"]) == {"share": 2, "lr": 0.5, "name": "x y", "seen": seen}
    assert ask(order, run=8).content["told"]["seen"] == 1, "another run has a state of its own"


def test_what_nobody_approved_does_not_run_and_is_told(order, tmp_path):
    (tmp_path / "app.py").write_text(APP + "\n")
    assert "app.py was changed after it was approved" in ask(order).error.reason
    (tmp_path / "app.py").write_text(APP)
    order["task"]["class"] = "other"
    assert "other of app.py is no ClientApp" in ask(order).error.reason
    order["task"] = {"name": "digits"}
    assert "task digits is Hansa's: join with an invitation to such an app" in ask(order).error.reason


def test_a_state_that_was_spoilt_is_told(order, tmp_path):
    ask(order)
    (tmp_path / "state" / "flower" / "7").write_bytes(b"\xff")
    assert "query: MalformedMessage: flower.py, line " in ask(order).error.reason
    order["limits"] = {"share_errors": True}
    assert "no state of Flower's" in ask(order).error.reason


def test_a_state_or_an_answer_beyond_the_owner_s_limits_is_refused_by_name(order, tmp_path):
    order["limits"] = {"states": 10, "state_days": 30}
    assert "query: BeyondLimits: the states of this run have" in ask(order).error.reason
    assert not (tmp_path / "state").exists()
    order["limits"] = {"body": 10}
    assert "query: BeyondLimits: the answer has" in ask(order).error.reason


@pytest.mark.parametrize("raw", [b"\xff", b"pickle"])
def test_bytes_that_are_no_state_are_refused(raw):
    with pytest.raises(MalformedMessage, match="no state of Flower's"):
        read_state(raw)
