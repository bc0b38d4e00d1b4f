"""A device as a process of its own: small while idle, and nothing of what it does is lost when it or its line dies."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.fleet import Fleet, command, fleet, until

TASK = """
import os, signal, time
from pathlib import Path
import torch
from torch import nn
from torch.utils.data import TensorDataset
from hansa.fedtasks import Data, Task

class Slow(Task):
    def clients(self): return ("bergen", "riga")
    def model(self): return nn.Linear(2, 2)
    def data(self, client): return Data(TensorDataset(torch.ones(4, 2), torch.zeros(4).long()))
    def train(self, model, data, settings, rng):
        print("a task may print")
        flag = Path(os.environ["FLAGS"])
        for name in ("die", "second"):
            try:
                (flag / name).unlink()  # one of several workers finds it
                os.kill(os.getpid(), signal.SIGKILL)
            except FileNotFoundError:
                pass
        if (flag / "long").exists():
            raise ValueError("x" * 200_000 + chr(27))
        if (flag / "wait").exists():
            (flag / "waiting").touch()
            while (flag / "wait").exists():
                time.sleep(0.02)
        return 0.0
"""
HEAVY = "{'torch', 'numpy', 'flwr', 'hydra', 'omegaconf', 'sklearn', 'safetensors'}"


@pytest.fixture
def there(tmp_path, monkeypatch):
    monkeypatch.setenv("FLAGS", str(tmp_path))
    (tmp_path / "mine.py").write_text(TASK.lstrip())
    with fleet(tmp_path) as made:
        yield made


def joined(there: Fleet, *names: str) -> None:
    there.provision(*names, task="./mine.py:Slow")
    for name in names:
        there.join(name, "idle_after=1")


def serve(there: Fleet, *words: str) -> None:
    words = ("run_dir=run", "evaluation.every=0", *words)
    there.start("serve", "serve", "plants", f"listen=127.0.0.1:{there.port}", *words)


def children(pid: int) -> list[str]:
    return Path(f"/proc/{pid}/task/{pid}/children").read_text().split()


def test_a_device_imports_nothing_heavy_while_it_is_idle():
    code = f"import sys, hansa.conf.join; print({HEAVY} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"


def test_a_device_works_lets_its_worker_go_and_ends_at_ctrl_c_with_130(there):
    there.provision("bergen", task="./mine.py:Slow")
    there.join("bergen", "idle_after=1", "log=json")
    serve(there, "rounds=2")
    assert there.served()["failures"] == 0
    agent = there.processes["bergen"].pid
    until(lambda: not children(agent), lambda: there.log("bergen"))
    assert there.kill("bergen", signal.SIGINT) == 130
    told = there.log("bergen")
    assert '"told": "connected to localhost:' in told and "train.update of round 2 is done" in told
    assert "a task may print" in told and "Traceback" not in told


def test_a_worker_that_is_killed_costs_nothing_and_has_its_work_done_by_another(there):
    joined(there, "bergen", "riga")
    (there.home / "die").touch()
    serve(there, "rounds=2")
    told = there.served()
    assert (told["failures"], told["rounds"]) == (0, 2)
    logs = there.log("bergen") + there.log("riga")
    assert logs.count("done once more by a fresh worker: the worker process was killed (signal 9)") == 1


def test_a_second_death_over_one_request_is_told_by_name_and_the_next_request_has_another_worker(there):
    joined(there, "bergen")
    (there.home / "die").touch()
    (there.home / "second").touch()
    serve(there, "rounds=2")
    told = there.served()
    assert (told["failures"], told["rounds"]) == (1, 2)
    assert "is left out: link: Refused: twice, the worker process was killed (signal 9)" in there.log("serve")


def test_a_failure_of_any_length_is_told_in_one_line_and_holds_nobody_up(there):
    joined(there, "bergen")
    (there.home / "long").touch()
    serve(there, "rounds=1", "lost_rounds=1")
    assert there.processes.pop("serve").wait(60) == 1
    assert "train.update of round 1 failed: training: ValueError: xxxx" in there.log("bergen")
    assert max(map(len, there.log("bergen").splitlines())) < 1000 and chr(27) not in there.log("bergen")


def test_a_device_killed_in_mid_work_works_again_and_its_answer_arrives_once(there):
    joined(there, "bergen")
    (there.home / "wait").touch()
    serve(there, "rounds=2")
    until((there.home / "waiting").exists, lambda: there.log("serve") + there.log("bergen"))
    (worker,) = children(there.processes["bergen"].pid)
    there.kill("bergen")
    until(lambda: not Path(f"/proc/{worker}").exists(), lambda: f"worker {worker} outlives its agent")
    (there.home / "wait").unlink()
    there.start("bergen", "join", "hansa-bergen")
    told = there.served()
    assert (told["failures"], told["rounds"], told["stopped"]) == (0, 2, "finished")
    assert not list((there.home / "hansa-bergen" / "spool").iterdir())


def test_a_coordinator_that_is_killed_and_started_again_finds_its_clients_and_a_revoked_one_ends_with_3(there):
    joined(there, "bergen", "riga")
    serve(there, "rounds=100000")
    lines = there.home / "run" / "metrics.jsonl"
    until(lambda: lines.exists() and lines.read_text().count("\n") > 2, lambda: there.log("serve"))
    there.kill("serve")
    serve(there, "rounds=3", "run_dir=again")
    told = there.served()
    assert (told["failures"], told["rounds"], told["clients"]) == (0, 3, 2)
    there.hansa("provision", "revoke", "plants", "riga")
    serve(there, "rounds=100000", "run_dir=without")
    assert there.processes.pop("riga").wait(30) == 3 and "'riga' is revoked" in there.log("riga")


def test_a_task_file_that_was_changed_after_approval_does_not_run(there):
    joined(there, "bergen", "riga")
    until((there.home / "hansa-riga" / "place.json").exists)
    path = there.home / "hansa-riga" / "mine.py"
    path.write_text(path.read_text() + "\nPath(os.environ['FLAGS'], 'ran').touch()\n")
    serve(there, "rounds=1")
    told = there.served(code=4)
    assert told["failures"] == 1 and not (there.home / "ran").exists()
    assert "riga is left out: approval: NotApproved: mine.py was changed after it was approved" in there.log("serve")
    assert "train.update of round 1 failed: approval: NotApproved" in there.log("riga")


def test_another_configuration_is_refused_with_the_field_that_differs(there):
    joined(there, "bergen", "riga")
    until((there.home / "hansa-riga" / "place.json").exists)
    (there.home / "rule.py").write_text("from hansa.strategies import FedAvg\nclass Rule(FedAvg): pass\n")
    serve(there, "rounds=1", "strategy=./rule.py:Rule", "lost_rounds=1")
    assert there.processes.pop("serve").wait(60) == 1
    assert "the run uses 'strategy=rule.py:Rule', a file: approve your own copy" in there.log("serve")


def test_it_ends_in_order_and_once_ends_by_itself(there):
    joined(there, "bergen")
    there.start("riga", "join", "plants/invitations/bergen.invitation", "--yes", "home=other")
    until(lambda: "not enrolled yet" in there.log("riga"), lambda: there.log("riga"))
    there.kill("riga")
    serve(there, "rounds=1")
    there.served()
    assert there.kill("bergen", signal.SIGTERM) == 0
    there.start("once", "join", "hansa-bergen", "--once", "once_after=60")
    serve(there, "rounds=1", "run_dir=again")
    there.served()
    assert there.processes.pop("once").wait(30) == 0, there.log("once")


def test_a_certificate_is_renewed_by_itself_when_a_third_of_its_life_is_left(there):
    there.provision("bergen", task="./mine.py:Slow")
    federation = there.home / "plants" / "server" / "federation.json"
    told = json.loads(federation.read_text())
    federation.write_text(json.dumps({**told, "valid_days": 15 / 86_400}))
    there.join("bergen")
    serve(there, "rounds=100000")
    until(lambda: "the certificate is renewed" in there.log("bergen"), lambda: there.log("bergen"))
    until(lambda: there.log("bergen").count("connected to") >= 2, lambda: there.log("bergen"))
    key = (there.home / "hansa-bergen" / "client.key").read_text()
    assert "PRIVATE KEY" in key and not (there.home / "hansa-bergen" / "next.key").exists()


def test_ctrl_c_in_mid_work_leaves_the_request_open(there):
    joined(there, "bergen")
    (there.home / "wait").touch()
    serve(there, "rounds=1")
    until((there.home / "waiting").exists, lambda: there.log("serve") + there.log("bergen"))
    assert there.kill("bergen", signal.SIGINT) == 130
    (there.home / "wait").unlink()
    there.start("bergen", "join", "hansa-bergen")
    told = there.served()
    assert told["failures"] == 0 and "killed" not in there.log("bergen")
    assert "bergen is gone: the client said goodbye" in there.log("serve")


def test_a_file_in_the_folder_of_the_command_does_not_run_in_place_of_a_library(there):
    there.provision("bergen", task="./mine.py:Slow")
    (here := there.home / "current" / "hansa" / "fedclient").mkdir(parents=True)
    for name in ("mmap", "numpy", "site", "sitecustomize", "usercustomize", "hansa/fedclient/worker"):
        file = there.home / "current" / f"{name}.py"
        file.write_text("import os; open(os.path.join(os.environ['FLAGS'], 'ran'), 'w')\n")
    with (there.home / "bergen.log").open("ab") as log:
        words = ("join", "../plants/invitations/bergen.invitation", "--yes", "home=../hansa-bergen")
        own = [Path(sys.executable).with_name("hansa"), *words]
        there.processes["bergen"] = subprocess.Popen(own, cwd=here.parents[1], stdout=log, stderr=log)
    serve(there, "rounds=1")
    assert there.served()["failures"] == 0 and not (there.home / "ran").exists()
    assert not list((there.home / "hansa-bergen" / "work").iterdir())


def test_a_command_imports_nothing_of_the_current_folder_even_where_python_would(tmp_path):
    (tmp_path / "filelock.py").write_text("raise SystemExit('imported from here')\n")
    done = subprocess.run(command("join", "--help"), cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0 and "imported from here" not in done.stderr
