"""The Flower ClientApp answers as a site does, and its state outlives a message."""

from __future__ import annotations

import functools
import hashlib
from importlib.resources import files

import numpy as np
import pytest
from flwr.app import Context, Message, RecordDict
from flwr.common.serde import context_from_proto, context_to_proto
from flwr.proto.message_pb2 import Context as ProtoContext
from flwr.supercore.task_identity import TaskIdentity

from hansa.conf import place
from hansa.conf.digest import learning_settings
from hansa.fedclient.app import app
from hansa.fedlink.errors import MalformedMessage
from hansa.fedlink.flower import call_messages, read_reply
from hansa.fedlink.messages import SETTLE, Call, fingerprints
from tests.places import HOSPITALS, inline, run_of

run_of = functools.cache(run_of)
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


def refusal(where, **changed):
    """What Flower's error says that a node's coordinator gets."""
    with pytest.raises(MalformedMessage, match="Flower's error") as refused:
        ask(where, **changed)
    assert "\n" not in str(refused.value)
    return str(refused.value)


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


@pytest.mark.parametrize("node", [{}, {"partition-id": -1}, {"partition-id": 4}, {"num-partitions": 4}])
def test_a_node_without_a_name_is_told_in_its_log_how_to_get_one_and_its_clients_are_told_to_nobody(node, capsys):
    assert "configuration: SettingsError: app.py, line " in (told := refusal(context(node)))
    assert f"--node-config 'hansa-client=\"NAME\"', NAME one of {', '.join(HOSPITALS)}" in capsys.readouterr().err
    assert not any(name in told for name in HOSPITALS)
    assert HOSPITALS[0] in refusal(context({**node, "hansa-share-errors": True}))


def test_another_configuration_is_answered_with_the_names_that_differ_and_no_value():
    fields = fingerprints(run_of("strategy=scaffold").job.settings)
    there, _ = ask(context(NAMED, WIRE + " client.lr=0.3125"), fields=fields)
    assert (there.failure.kind, there.differs, there.row) == ("DigestDiffers", ("client.lr",), None)
    assert "0.3125" not in repr(there)
    assert ask(context(NAMED, WIRE + " client.lr=0.3"))[0].differs == (), "no fields were told"


def test_code_does_not_come_over_the_wire():
    told = refusal(context(NAMED, "task=./evil.py:Task"))
    assert "configuration: NotTaken: the run uses 'task=./evil.py:Task', a file: approve your own copy" in told


@pytest.mark.parametrize("share", [False, True])
def test_a_site_reads_its_own_folder_and_its_errors_texts_stay_in_its_log(tmp_path, share, capsys):
    (tmp_path / "hungary.csv").write_text("age,sex\n54,male\n")
    site = {"hansa-site": f"task.data_dir={tmp_path}", "hansa-share-errors": share}
    failure = ask(context({**NAMED, **site}))[0].failure
    assert (failure.stage, failure.kind) == ("loading data", "DataError")
    assert f"hansa: loading data: DataError: {tmp_path}" in capsys.readouterr().err
    assert (str(tmp_path) in failure.text) == share
    assert share or failure.text.startswith("tables.py, line ")


def test_a_site_setting_reaches_the_work(tmp_path):
    (tmp_path / "hungary.csv").write_bytes(
        (files("hansa.fedtasks") / "data" / "heart_disease" / "hungary.csv").read_bytes()
    )
    there, here = ask(context({**NAMED, "hansa-site": f"task.data_dir='{tmp_path}' client.device=cpu"}))
    assert there.failure is None and np.array_equal(there.row, here.row), "paths are no part of the digest"


@pytest.mark.parametrize("site", ["rounds=9", "client.lr=1", "seed=7", "task=digits", "task.net=mlp"])
def test_a_site_setting_that_is_the_runs_own_is_refused(site, capsys):
    assert "configuration: WrongValue: wire.py, line" in refusal(context({**NAMED, "hansa-site": site}))
    told = capsys.readouterr().err
    assert f"'{site}' is not a place's own setting: it sets client.device, debug, federation, ray_address" in told


def test_the_places_own_copy_of_a_file_is_used_and_its_hash_compared(tmp_path):
    mine = tmp_path / "mine.py"
    mine.write_text("from hansa.fedtasks.heart_disease import HeartDisease\nclass Mine(HeartDisease): ...\n")
    node = {**NAMED, "hansa-site": f"task={mine}:Mine"}
    wire = "task=./theirs.py:Mine strategy=scaffold"
    ours = learning_settings(place.settings(wire, node["hansa-site"])[0])
    there, _ = ask(context(node, wire), fields=fingerprints({**ours, "task file": "SHA-256 of theirs"}))
    assert (there.failure.kind, there.differs) == ("DigestDiffers", ("task file",))
    assert ours["task file"] == f"SHA-256 {hashlib.sha256(mine.read_bytes()).hexdigest()}"
    assert str(tmp_path) not in "".join(ours.values())


@pytest.mark.parametrize("own", ["task.data_dir=/etc", "client.device=cuda", "run_dir=/etc/x", "federation=elsewhere"])
def test_a_places_own_settings_do_not_come_over_the_wire(own):
    there, here = ask(context(NAMED, f"{WIRE} {own}"))
    assert there.failure is None and np.array_equal(there.row, here.row)


@pytest.mark.parametrize("own", ["task={data_dir:/nowhere}", "client={device:cuda}", "'task={data_dir: /nowhere}'"])
def test_a_places_own_settings_do_not_come_inside_others(own):
    assert "is chosen by the name of what ships" in refusal(context(NAMED, f"{WIRE} {own}"))


@pytest.mark.parametrize(
    "wire",
    [
        "task=./evil.py:X",
        "strategy=/tmp/evil.py:X",
        "'task=[./evil.py:X]'",
        "task._target_=os.system",
        "task._target_=./evil.py:X",
        "client._target_=builtins.exec",
        "pipeline.bound._target_=subprocess.run",
        "+a=1",
        "++rounds=1",
        "~task",
        "~strategy.lr",
        "hydra.run.dir=/x",
        "hydra/launcher=joblib",
        "hydra.searchpath=[file:///tmp]",
        "task@elsewhere=digits",
        "task.net=${oc.env:HOME}",
        "'task.net=${oc.env:HOME}'",
        r"task.net=\${oc.env:HOME}",
        "task.data_dir=${oc.env:HOME}",
        "seed=${hydra:runtime.cwd}",
        "--multirun",
        "--config-dir=/tmp",
        "evil",
    ],
)
def test_code_deletions_additions_and_interpolations_are_refused_in_one_line(wire, monkeypatch):
    monkeypatch.setenv("HOME", "a secret of this place")
    told = refusal(context(NAMED, f"{WIRE} {wire}"))
    assert "configuration: NotTaken: " in told and "a secret" not in told


def test_a_run_without_settings_is_told_how_to_bring_them():
    where = context({**NAMED, "hansa-share-errors": True})
    where.run_config = {}
    assert "--run-config 'hansa=" in refusal(where)


def test_partitions_are_places_among_the_sorted_names():
    names = [ask(context({"partition-id": i, "num-partitions": 4}))[0].client for i in range(4)]
    assert tuple(names) == HOSPITALS
    named = ask(context({"partition-id": 0, "hansa-client": "switzerland"}))[0]
    assert named.client == "switzerland", "a name goes before a partition"


def test_a_state_in_flowers_context_survives_its_way_through_bytes():
    """Between two messages Flower keeps the context outside the process that worked."""
    where, steady = context(NAMED), context(NAMED)
    for round, counted in ((1, None), (2, (1, 0)), (3, (2, 0))):
        there, here = (ask(one, round=round, counted=counted)[0] for one in (where, steady))
        assert there.failure is None and there.staged and np.array_equal(there.row, here.row)
        where = context_from_proto(ProtoContext.FromString(context_to_proto(where).SerializeToString()))


def test_a_state_directory_outlives_the_node(tmp_path):
    node, steady, counted = {**NAMED, "state-dir": str(tmp_path)}, context(NAMED), None
    for round in (1, 2, 3):
        there, here = (ask(one, round=round, counted=counted)[0] for one in (context(node), steady))
        assert there.failure is None and there.staged and np.array_equal(there.row, here.row)
        counted = (round, 0)
    assert context(node).state == RecordDict() and (tmp_path / "run" / "hungary" / "staged.safetensors").is_file()


def test_a_lost_answer_leaves_no_trace_at_a_node():
    lossy, clean = context(NAMED), context(NAMED)
    for where in (lossy, clean):
        ask(where)
    ask(lossy, round=2, counted=(1, 0))
    there, here = (ask(where, round=3, counted=(1, 0))[0] for where in (lossy, clean))
    assert np.array_equal(there.row, here.row)


def test_a_malformed_message_is_refused_before_any_work(capsys):
    where = context(NAMED)
    message = Message(RecordDict(), dst_node_id=7, message_type="train.scaffold")
    reply = app(message, where)
    assert reply.has_error() and "configuration: MalformedMessage: flower.py, line " in reply.error.reason
    assert not where.state and "not Hansa's" in capsys.readouterr().err
