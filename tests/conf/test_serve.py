"""What hansa serve takes from its command line and its folder, and how a run on a server ends."""

from __future__ import annotations

import json
import os
import signal
import time
from dataclasses import replace

import pytest

from hansa.conf import main, serve
from hansa.conf.compose import compose
from hansa.conf.errors import ConfigError, WrongValue
from hansa.conf.run import assemble
from hansa.fedlink.authority import DAY, new_root
from hansa.fedlink.certificates import read_peer
from hansa.fedlink.folder import Federation, ServerFolder
from hansa.fedlink.invitation import TaskFile
from hansa.fedlink.messages import fingerprints
from hansa.fedlink.protocol import Desk
from hansa.fedserver.errors import TooFewClients
from tests.fleet import Fleet, fleet, until


@pytest.fixture
def made(tmp_path, monkeypatch):
    """A federation's folder, as hansa provision leaves it, in an empty folder where one works."""
    monkeypatch.chdir(tmp_path)
    assert main.run(["provision", "plants", "address=localhost:8443", "task=digits", "clients=bergen,riga"]) == 0
    return tmp_path / "plants"


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["a", "b"], "name the federation's one folder"),
        (["rounds=3"], "name the federation's one folder"),
        (["plants", "insecure=true"], "name the federation's one folder"),
        (["nowhere"], "nowhere is no federation's folder: make one with hansa provision nowhere"),
        (["insecure=true", "listen=0.0.0.0:8443"], "without certificates only 127.0.0.1"),
        (["insecure=true", "listen=example.org:8443"], "without certificates only 127.0.0.1"),
        (["insecure=maybe"], "insecure=maybe: it must be true or false"),
        (["plants", "listen=unix:80"], "'unix' is no host"),
        (["plants", "log=yaml"], "log=yaml: it is text or json"),
        (["plants", "require=some"], "require=some: it is all or none"),
        (["plants", "require=all", "app=./a.py:app"], "require=all: whom a Flower app needs is its own affair"),
        (["plants", "heartbeat=0.5"], "heartbeat=0.5: it must be at least 1 s"),
        (["plants", "heartbeat=601"], "heartbeat=601: it must be a number above 0, and 600 at most"),
        (["plants", "patience=nan"], "patience=nan: it must be a number above 0, and 86400 at most"),
    ],
)
def test_words_that_make_no_sense_are_refused_in_one_line(made, words, told):
    with pytest.raises(WrongValue, match=told.replace("(", r"\(")):
        serve.read(words)


def test_the_folder_says_where_to_listen_and_what_is_learnt(made):
    for place in ("plants", "plants/server"):
        asked = serve.read([place, "rounds=3"])
        assert (asked.listen, asked.log, asked.words) == ("0.0.0.0:8443", "text", ["task=digits", "rounds=3"])
    asked = serve.read(["plants", "task=heart_disease", "listen=127.0.0.1:1", "log=json"])
    assert (asked.listen, asked.log, asked.words) == ("127.0.0.1:1", "json", ["task=heart_disease"])
    assert serve.read(["insecure=true"]).listen == "127.0.0.1:8443"


def test_a_task_file_that_invitations_carry_is_laid_beside_the_keys(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    now, folder = time.time(), ServerFolder(path=tmp_path / "server")
    task = TaskFile(file="mine.py", class_name="Mine", text="class Mine: ...\n")
    root = new_root("x", now)
    folder.make(root, root.issuing("x", now), Federation(name="x", address="localhost:1", task=task), now)
    path = folder.path / "mine.py"
    assert serve.read(["server"]).words == [f"task={path.relative_to(tmp_path)}:Mine"]
    assert path.read_text() == task.text


def test_clients_are_told_the_runs_words_without_what_is_a_places_own():
    words = ["task=/secret/mine.py:Mine", "run_dir=/secret", "client.device=cuda", "rounds=3", "strategy=./r.py:Rule"]
    words += ["task.root=/secret", "task.data_dir=/secret"]
    desk = serve._desk("id", words, {"task.root"}, {"seed": "1"})
    assert desk.settings == ("task=mine.py:Mine", "rounds=3", "strategy=r.py:Rule")
    assert desk.fields == fingerprints({"seed": "1"})
    for odd, told in (
        ("+new=1", "only plain settings"),
        ("task={root: /secret}", "task is chosen by the name"),
        ("strategy.rule={table: /secret}", "strategy.rule.table is each place's own"),
    ):
        with pytest.raises(ConfigError, match=told):
            serve._desk("id", [odd], {"task.root", "strategy.rule.table"}, {})


def test_everyone_who_is_invited_is_waited_for(made):
    assert serve._invited(ServerFolder(path=made / "server")) == ["bergen", "riga"]
    assert main.run(["provision", "revoke", "plants", "riga"]) == 0
    assert serve._invited(ServerFolder(path=made / "server")) == ["bergen"]


def test_the_servers_certificate_is_renewed_when_a_third_of_its_life_is_left(made):
    folder = ServerFolder(path=made / "server")
    now, issuer = time.time(), folder.issuer()
    before = read_peer(folder.chain.read_bytes()).serial
    serve.read(["plants"])
    assert read_peer(folder.chain.read_bytes()).serial == before
    folder.certify(issuer, folder.federation(), now - 61 * DAY)
    old = read_peer(folder.chain.read_bytes()).serial
    serve.read(["plants"])
    assert read_peer(folder.chain.read_bytes()).serial not in (before, old)
    folder.certify(issuer, folder.federation(), now - 91 * DAY)
    (folder.path / "issuer.key").unlink()
    with pytest.raises(WrongValue, match=r"was good until .* hansa provision renew"):
        serve.read(["plants"])


def test_the_servers_certificate_is_renewed_while_a_run_goes_on_and_what_hinders_it_is_told(made):
    folder = ServerFolder(path=made / "server")
    told = []
    issuer = folder.issuer()
    folder.certify(issuer, folder.federation(), time.time() - 61 * DAY)
    old = read_peer(folder.chain.read_bytes()).serial
    with serve._renewing(folder, told.append, every=0.01):
        until(lambda: read_peer(folder.chain.read_bytes()).serial != old)
        (folder.path / "issuer.key").unlink()
        folder.certify(issuer, folder.federation(), time.time() - 91 * DAY)
        until(lambda: told)
    assert "is not renewed: the server's certificate was good until" in told[-1]


def test_a_port_that_is_taken_is_told_in_one_line(tmp_path):
    with fleet(tmp_path) as there:
        there.provision("cleveland")
        there.start("serve", "serve", "plants", f"listen=127.0.0.1:{there.port}")
        until(lambda: "waiting for 1 client," in there.log("serve"), lambda: there.log("serve"))
        told = there.hansa("serve", "plants", f"listen=127.0.0.1:{there.port}", code=1)
        assert "another program has the port" in told and "Traceback" not in told


def test_an_asynchronous_run_waits_for_as_many_as_it_needs(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    words = ["task=heart_disease", "strategy=fedbuff", "cohort=asynchronous", "cohort.buffer=3", "start_within=0.01"]
    asked = replace(serve.read(["insecure=true", *words]), listen="127.0.0.1:0")
    few = pytest.raises(TooFewClients, match="0 clients are there and a round needs 3")
    with serve.deploy(asked) as carrying, few:
        carrying.carry_out()
    assert "waiting for 3 clients" in capsys.readouterr().err


def served(there: Fleet, *words: str) -> None:
    there.provision("cleveland")
    there.join("cleveland")
    there.start("serve", "serve", "plants", f"listen=127.0.0.1:{there.port}", "run_dir=run", *words)
    lines = there.home / "run" / "metrics.jsonl"
    until(lambda: lines.exists() and lines.read_text().count("\n") > 2, lambda: there.log("serve"))


@pytest.mark.parametrize("how", [(signal.SIGTERM,), (signal.SIGHUP, signal.SIGINT, signal.SIGTERM)])
def test_a_run_that_is_ended_keeps_what_it_learnt_and_tells_its_clients(tmp_path, how):
    with fleet(tmp_path) as there:
        served(there, "rounds=100000")
        *first, last = how
        for signalled in first:
            os.kill(there.processes["serve"].pid, signalled)
        assert there.kill("serve", last) == 130
        assert json.loads((tmp_path / "run" / "summary.json").read_text())["stopped"] == "interrupted"
        assert there.log("serve").splitlines()[-1].startswith("hansa serve: interrupted; what was learnt")
        until(lambda: "the coordinator stops" in there.log("cleveland"), lambda: there.log("cleveland"))


def test_a_log_of_json_has_a_line_for_all_that_happens(tmp_path):
    with fleet(tmp_path) as there:
        served(there, "rounds=3", "log=json")
        assert there.served()["rounds"] == 3
        lines = [json.loads(line) for line in there.log("serve").splitlines()]
        assert {line.get("event") for line in lines} == {"told", "request", "answer", "round", None}
        assert all("at" in line for line in lines[:-1])


def test_a_site_that_took_part_in_no_round_is_told_and_the_command_ends_with_another_code(tmp_path):
    with fleet(tmp_path) as there:
        there.provision("cleveland", "hungary", "riga")
        (tmp_path / "empty").mkdir()
        there.join("cleveland")
        there.join("hungary", f"task.data_dir={tmp_path / 'empty'}")
        for require, code in (("", 4), ("require=none", 0)):
            words = ("rounds=2", "start_with=2", *filter(None, [require]))
            there.start("serve", "serve", "plants", f"listen=127.0.0.1:{there.port}", *words)
            summary = there.served(code)
            assert summary["stopped"] == "finished" and list(summary["never_counted"]) == ["hungary", "riga"]
            assert summary["never_counted"]["riga"] == "never connected"
            assert "counted in no round: hungary (" in there.log("serve")
        assert there.log("serve").count("hansa serve: counted in no round, though all are required: hungary, riga") == 1


@pytest.mark.parametrize(
    ("words", "required"),
    [
        ([], True),
        (["cohort.deadline=9"], True),
        (["cohort.quorum=0.5"], False),
        (["cohort.size=1"], False),
        (["cohort=asynchronous", "strategy=fedbuff"], False),
    ],
)
def test_everybody_is_required_where_each_round_is_meant_to_have_everybody(words, required):
    assert assemble(*compose(["task=heart_disease", *words])).job.cohort.wants_all is required


def test_heartbeats_and_patience_follow_the_rounds_where_they_are_not_given():
    for words, expected in (([], (2.0, 10.3)), (["heartbeat=9"], (9.0, 10.3)), (["patience=3"], (2.0, 3.0))):
        asked = replace(serve.read(["insecure=true", *words]), listen="127.0.0.1:0")
        with serve._listening(asked, Desk(software="test")) as server:
            presence, tempo = serve._presence(asked, server.desk, print)
            tempo.over(0.1)
            assert (server.desk.limits.heartbeat, presence.patience) == expected


def test_a_device_that_stands_still_is_named_and_does_not_hold_the_others_up(tmp_path):
    with fleet(tmp_path) as there:
        there.provision("cleveland", "hungary")
        for name in ("cleveland", "hungary"):
            there.join(name)
        settings = ("rounds=100000", "run_dir=run", "evaluation.every=0", "heartbeat=4", "patience=1")
        there.start("serve", "serve", "plants", f"listen=127.0.0.1:{there.port}", *settings)
        lines = tmp_path / "run" / "metrics.jsonl"

        def counted() -> list[int]:
            whole = [line for line in lines.read_text().splitlines(keepends=True) if line.endswith("\n")]
            return [json.loads(line)["counted"] for line in whole]

        until(lambda: lines.exists() and 2 in counted(), lambda: there.log("serve"))
        os.kill(there.processes["hungary"].pid, signal.SIGSTOP)
        until(lambda: counted()[-1] == 1, lambda: there.log("serve"))
        assert "waits for hungary (silent 1" in there.log("serve"), there.log("serve")
        assert "hungary is left out: link: Gone: the line of 'hungary' has been down for" in there.log("serve")
        os.kill(there.processes["hungary"].pid, signal.SIGCONT)
        until(lambda: counted()[-1] == 2, lambda: there.log("serve"))
