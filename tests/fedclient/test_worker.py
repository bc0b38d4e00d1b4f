"""What a device answers, byte for byte: nothing of a patient's row, of its paths or its settings is in it."""

from __future__ import annotations

import functools
import json
import subprocess
import sys
from importlib.resources import files

import numpy as np
import pytest

from hansa.conf import place
from hansa.conf.digest import digest, learning_settings
from hansa.fedclient.outside import KEPT
from hansa.fedclient.worker import carry_out
from hansa.fedlink.messages import SETTLE, Call, fingerprints
from hansa.fedlink.packing import pack_call
from tests.places import run_of

run_of = functools.cache(run_of)
MANY = {"run": ["task=heart_disease", "evaluation.every=1", "client.epochs=1000000000"], "limits": {"epochs": 1000}}
ROW = "54-male-asymptomatic-666"
ODD = """
from dataclasses import replace
from hansa.strategies import FedAvg, Endpoint

class Wide(Endpoint):
    def encode(self, *given):
        rows, after = super().encode(*given)
        return rows.astype("float64"), after

class Odd(FedAvg):
    def endpoints(self, problem):
        return {name: Wide(**vars(end)) for name, end in super().endpoints(problem).items()}
"""
GOOD = (files("hansa.fedtasks") / "data" / "heart_disease" / "hungary.csv").read_text()


@pytest.fixture
def device(tmp_path):
    """A device whose table has one bad row; returns what an order brings: the answer's bytes, and what the log gets."""
    (tmp_path / "patients").mkdir()
    (tmp_path / "patients" / "hungary.csv").write_text(
        f"{GOOD}999,{ROW}{GOOD.splitlines()[1].removeprefix('304,28')}\n"
    )

    def answer(call: Call, **changed) -> tuple[bytes, str]:
        folder = tmp_path / "request"
        folder.mkdir(exist_ok=True)
        head, body = pack_call(call)
        (folder / "head").write_bytes(head)
        (folder / "body").write_bytes(b"".join(body.pieces(0, 2**20)))
        order = {
            "folder": str(folder),
            "run": ["task=heart_disease", "rounds=3", "evaluation.every=1"],
            "fields": fingerprints(run_of("evaluation.every=1").job.settings),
            "place": [f"task.data_dir={tmp_path / 'patients'}"],
            "node": [],
            "client": "hungary",
            "key": "00" * 32,
            "state": str(tmp_path / "state"),
            "task": {"name": "heart_disease"},
            "limits": {},
        }
        told = carry_out({**order, **changed})
        return (folder / "reply.head").read_bytes() + (folder / "reply.body").read_bytes(), told

    return answer


def call(endpoint="train.update", **changed) -> Call:
    run = run_of("evaluation.every=1")
    payload = {"model": np.zeros(run.work.layout.size("shared"), np.float32)}
    usual = {"run": "run", "round": 1, "request": 0, "digest": run.job.digest, "payload": payload}
    return Call(**{"endpoint": endpoint, **usual, **changed})


def read(raw: bytes) -> dict[str, object]:
    return dict(json.loads(raw[32:]))  # behind the hash of the body


@pytest.mark.parametrize("endpoint", ["train.update", "evaluate.model", "query.moments"])
def test_a_bad_row_is_in_the_devices_log_and_not_in_its_answer(device, endpoint, tmp_path):
    raw, told = device(call(endpoint))
    stage, kind, text = read(raw)["failure"]
    assert (stage, kind) == ("loading data", "DataError") and text.startswith("tables.py, line ") and KEPT in text
    assert str(tmp_path / "patients" / "hungary.csv") in told and "column 'age'" in told
    for secret in (*ROW.split("-"), str(tmp_path), "patients", "hungary.csv"):
        assert secret not in text
    shared, _ = device(call(endpoint), limits={"share_errors": True})
    assert read(shared)["failure"][2] in told


def test_losses_too(device):
    words = ["task=heart_disease", "rounds=3", "evaluation.every=1", "selection=power_of_choice", "cohort.size=2"]
    run = run_of(*words[2:])
    fields = fingerprints(run.job.settings)
    (losses,) = [name for name in run.job.endpoints if "loss" in name]
    raw, _ = device(call(losses, digest=run.job.digest), run=words, fields=fields)
    assert read(raw)["failure"][0] == "loading data" and "54" not in str(read(raw)["failure"])


def test_a_lost_state_is_told_for_it_quotes_what_the_coordinator_knows(device, tmp_path):
    raw, _ = device(call(SETTLE, counted=(4, 1), payload={}))
    assert read(raw)["failure"][:2] == ["client state", "StateLost"]
    assert "'hungary' was counted in round 4" in read(raw)["failure"][2]
    broken = tmp_path / "state" / "run" / "hungary" / "committed.safetensors"
    broken.parent.mkdir(parents=True)
    broken.write_bytes(b"54,male")
    raw, told = device(call(SETTLE, counted=(4, 1), payload={}))
    stage, kind, text = read(raw)["failure"]
    assert (stage, kind) == ("client state", "StateUnreadable") and str(tmp_path) not in text and str(tmp_path) in told


def test_another_configuration_is_answered_by_names(device):
    raw, _ = device(call(digest="other", payload={}), place=["task.data_dir=/secret/folder"])
    assert read(raw)["differs"] == [] and b"secret" not in raw
    other = fingerprints({**run_of("evaluation.every=1").job.settings, "client.lr": "0.7"})
    raw, _ = device(call(digest="other", payload={}), fields=other)
    assert read(raw)["differs"] == ["client.lr"] and b"0.1" not in raw


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"run": ["task=heart_disease", "partition=../../../secrets"]}, "NotTaken: 'partition=../../../secrets' came"),
        (
            {"run": ["task=digits"], "place": []},
            "NotApproved: the run is of task digits, and heart_disease was approved here",
        ),
        ({"limits": {"private": ["logit.*"]}}, "NotApproved: the run sends logit.weight, logit.bias"),
        ({"limits": {"least_clients": 3}}, "NotApproved: the run counts rounds of cohort.min=1 clients"),
        (MANY, "BeyondLimits: it asks for 1,000,000,000 epochs, and the device gives 1,000 (epochs in site.yaml)"),
    ],
)
def test_what_a_run_must_not_have_is_refused_by_name_before_any_work(device, changed, told):
    digest = run_of("evaluation.every=1", "client.epochs=1000000000").job.digest
    raw, log = device(call(**{"digest": digest} if changed is MANY else {}), **changed)
    assert told in log and told == f"{read(raw)['failure'][1]}: {read(raw)['failure'][2]}"[: len(told)]


def test_a_places_own_word_that_is_wrong_is_told_in_its_log_only(device):
    raw, told = device(call(), place=["task.net=/secret/folder"])
    assert "'task.net=/secret/folder' is not a place's own setting" in told
    assert read(raw)["failure"][:2] == ["configuration", "WrongValue"] and b"secret" not in raw


def test_a_good_table_is_worked_on(device, tmp_path):
    (tmp_path / "patients" / "hungary.csv").write_text(GOOD)
    raw, told = device(call("evaluate.model", payload={"model": call().payload["model"]}))
    assert told == "" and b'"failure":null' in raw


def test_an_answer_or_a_state_that_is_longer_than_the_owner_gives_is_a_failure_by_name(device, tmp_path):
    (tmp_path / "patients" / "hungary.csv").write_text(GOOD)
    raw, _ = device(call(), limits={"body": 10})
    assert read(raw)["failure"][:2] == ["answering", "BeyondLimits"] and "the device gives 10 (body" in str(read(raw))
    words = ["task=heart_disease", "rounds=3", "evaluation.every=1", "strategy=scaffold"]
    run = run_of(*words[2:])
    size = run.work.layout.size("shared")
    payload = {name: np.zeros(size, np.float32) for name in ("model", "control")}
    scaffold = call("train.scaffold", digest=run.job.digest, payload=payload)
    fields = fingerprints(run.job.settings)
    raw, _ = device(scaffold, run=words, fields=fields, limits={"states": 1000})
    assert read(raw)["failure"][:2] == ["train.scaffold", "BeyondLimits"] and "(states in site.yaml)" in str(read(raw))
    assert not list((tmp_path / "state").glob("run/hungary/*"))
    raw, _ = device(scaffold, run=words, fields=fields, limits={"states": 10**6, "state_days": 30})
    assert b'"failure":null' in raw and list((tmp_path / "state" / "run" / "hungary").glob("staged*"))


def test_a_greeting_needs_no_torch():
    code = "import sys, hansa.fedclient.worker; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


def test_an_answer_that_cannot_be_packed_is_a_failure_and_not_the_workers_end(device, tmp_path):
    (tmp_path / "patients" / "hungary.csv").write_text(GOOD)
    rule = tmp_path / "rule.py"
    rule.write_text(ODD)
    words = ["task=heart_disease", "rounds=3", "evaluation.every=1", "strategy=rule.py:Odd"]
    site = [f"strategy={rule}:Odd"]
    settings = learning_settings(place.settings(" ".join(words), site[0])[0])
    raw, _ = device(call(digest=digest(settings)), run=words, place=site, fields=())
    assert read(raw)["failure"][:2] == ["answering", "MalformedMessage"]
