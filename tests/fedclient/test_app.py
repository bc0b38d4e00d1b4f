"""The Flower ClientApp answers as a site does, and its state outlives a message."""

from __future__ import annotations

import numpy as np
import pytest
from flwr.app import Context, RecordDict
from flwr.supercore.task_identity import TaskIdentity

from hansa.conf.errors import ConfigError
from hansa.fedclient.app import app
from hansa.fedclient.errors import SettingsError
from hansa.fedlink.flower import call_messages, read_reply
from hansa.fedlink.messages import SETTLE, Call
from tests.places import HOSPITALS, inline, run_of

TaskIdentity.task_id, TaskIdentity.run_id, TaskIdentity.node_id = 1, 2, 3
WIRE = "task=heart_disease strategy=scaffold"
NAMED = {"hansa-client": "hungary"}


def context(node_config, wire=WIRE):
    return Context(run_id=2, node_id=7, node_config=node_config, state=RecordDict(), run_config={"hansa": wire})


def ask(where, **changed):
    run = run_of("strategy=scaffold")
    zero = np.zeros(run.work.layout.size("shared"), np.float32)
    usual = {"endpoint": "train.scaffold", "round": 1, "payload": {"model": zero, "control": zero}}
    call = Call(**{"run": "run", "request": 0, "digest": run.job.digest, **usual, **changed})
    (message,) = call_messages({7: call}, 60)
    return read_reply(app(message, where)), inline(run).site.answer(call, "hungary")


@pytest.mark.parametrize("node", [NAMED, {"partition-id": 1, "num-partitions": 4}], ids=["name", "partition"])
def test_the_app_answers_as_a_site_does(node):
    there, here = ask(context(node))
    assert there.client == "hungary" and there.staged and there.failure is None
    assert np.array_equal(there.row, here.row)


@pytest.mark.parametrize("kind", ["memory", "disk"])
def test_states_outlive_a_message_and_lost_ones_are_reported(kind, tmp_path):
    node = {**NAMED, **({"state-dir": str(tmp_path)} if kind == "disk" else {})}
    where = context(node)
    first, fresh = ask(where)
    after, _ = ask(where, round=2, counted=(1, 0))
    assert after.failure is None and not np.array_equal(after.row, first.row)
    assert ask(where, endpoint=SETTLE, round=3, counted=(2, 0))[0].failure is None
    lost, _ = ask(context(NAMED), round=3, counted=(2, 0))
    assert lost.failure.kind == "StateLost" and "restore its state_dir" in lost.failure.text
    assert np.array_equal(first.row, fresh.row)


def test_a_node_without_a_name_is_told_how_to_get_one():
    for node in ({}, {"partition-id": 4}):
        with pytest.raises(SettingsError, match=f"NAME one of {', '.join(HOSPITALS)}"):
            ask(context(node))


def test_another_configuration_is_answered_with_this_places_settings():
    there, _ = ask(context(NAMED, WIRE + " client.lr=0.3"))
    assert there.failure.kind == "DigestDiffers" and there.settings["client.lr"] == "0.3" and there.row is None


def test_code_does_not_come_over_the_wire():
    with pytest.raises(ConfigError, match="approve your own copy"):
        ask(context(NAMED, "task=./evil.py:Task"))


def test_a_site_reads_its_own_folder(tmp_path):
    there, _ = ask(context({**NAMED, "hansa-site": f"task.data_dir={tmp_path}"}))
    assert there.failure.stage == "loading data"
