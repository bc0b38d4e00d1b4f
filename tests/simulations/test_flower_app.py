"""Flower apps that know nothing of Hansa run in the process pool, and repeat."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from hansa.simulations.scratch import LOCK

COMMAND = [sys.executable, "-c", "from hansa.conf.main import main; main()", "simulate"]
PROJECT = """
[project]
name = "ports"
version = "1.0.0"
[tool.flwr.app]
publisher = "anybody"
[tool.flwr.app.components]
serverapp = "{package}.server:app"
clientapp = "{package}.client:app"
[tool.flwr.app.config]
rounds = 3
broken = -1
fuse = ""
[tool.flwr.app.config.model]
lr = 0.1
[tool.flwr.federations]
default = "local"
[tool.flwr.federations.local]
options.num-supernodes = 6
"""
CLIENT = """
import os
import random
from pathlib import Path
import numpy as np
import torch
from flwr.app import ArrayRecord, ConfigRecord, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp

def burn(fuse):
    left = int(fuse.read_text())
    if left:
        fuse.write_text(str(left - 1))
    else:
        fuse.unlink()
        os.kill(os.getpid(), 9)

def counting(message, context, call_next):
    reply = call_next(message, context)
    reply.content["metrics"]["modded"] = 1
    return reply

app = ClientApp(mods=[counting])

@app.train()
def train(message, context):
    part, parts = context.node_config["partition-id"], context.node_config["num-partitions"]
    if part == context.run_config["broken"]:
        raise ValueError(f"partition {part} is broken")
    if (fuse := Path(context.run_config["fuse"])).is_file():
        burn(fuse)
    if "memory" not in context.state:
        context.state["memory"] = ConfigRecord({"calls": 0})
    context.state["memory"]["calls"] += 1
    weights = message.content["arrays"].to_torch_state_dict()["w"]
    weights += context.run_config["model.lr"] * (part + torch.randn(3) + random.random() + np.random.rand())
    told = {"num-examples": parts, "calls": context.state["memory"]["calls"]}
    return Message(RecordDict({"arrays": ArrayRecord({"w": weights}), "metrics": MetricRecord(told)}), reply_to=message)
"""
SERVER = """
import json
import torch
from flwr.app import ArrayRecord
from flwr.serverapp import ServerApp
from flwr.serverapp.strategy import FedAvg

app = ServerApp()

@app.main()
def main(grid, context):
    rule = FedAvg(fraction_train=0.5, fraction_evaluate=0.0)
    result = rule.start(grid, ArrayRecord({"w": torch.zeros(3)}), num_rounds=context.run_config["rounds"])
    told = {str(k): dict(v) for k, v in result.train_metrics_clientapp.items()}
    print(json.dumps([result.arrays.to_torch_state_dict()["w"].tolist(), told]))
"""


@pytest.fixture
def app(tmp_path) -> Path:
    """An app of one package."""
    package = tmp_path / "app" / "ports"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    (package / "client.py").write_text(CLIENT)
    (package / "server.py").write_text(SERVER)
    (tmp_path / "app" / "pyproject.toml").write_text(PROJECT.format(package="ports"))
    return tmp_path / "app"


def simulate(app: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*COMMAND, f"app={app}", *words], capture_output=True, text=True, check=False)


def told(app: Path, *words: str) -> tuple[list[object], dict[str, object]]:
    done = simulate(app, *words)
    assert done.returncode == 0, done.stderr
    *_, result, summary = done.stdout.splitlines()
    return json.loads(result), json.loads(summary)


def test_an_app_repeats_for_a_seed_with_any_number_of_workers(app):
    (first, summary), (again, _), (other, _) = (
        told(app, "workers=2", "seed=3"),
        told(app, "workers=1", "seed=3"),
        told(app, "seed=4"),
    )
    assert first == again != other
    assert (summary["clients"], summary["failures"], summary["stopped"]) == (6, 0, "finished")
    assert summary["messages"] == 9, "three of six nodes in each of three rounds"
    metrics = first[1]
    assert metrics["1"]["calls"] == 1 and metrics["3"]["calls"] > 1, "a node's state stays"
    assert metrics["1"]["modded"] == 1


def test_a_worker_that_dies_changes_no_bit_and_no_state(app):
    whole = told(app, "workers=1")
    (app / "fuse").write_text("5")  # the last of the second round's three messages
    again = told(app, "workers=1", f"fuse={app / 'fuse'}")
    assert not (app / "fuse").exists()
    assert again[0] == whole[0] and again[1]["messages"] == whole[1]["messages"] == 9


def test_a_signal_ends_it_with_a_summary_and_nothing_is_left(app):
    running = subprocess.Popen(
        [*COMMAND, f"app={app}", "rounds=1000000"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert running.stderr is not None
    assert any("ROUND 3/" in line for line in running.stderr)
    files = [path.readlink() for path in Path(f"/proc/{running.pid}/fd").iterdir()]
    (memory,) = {file.parent for file in files if file.name == LOCK}
    os.killpg(running.pid, signal.SIGTERM)
    out, err = running.communicate(timeout=60)
    assert running.returncode == 130 and "Traceback" not in err, err
    assert json.loads(out.splitlines()[-1])["stopped"] == "interrupted"
    assert not memory.exists()
    with pytest.raises(ProcessLookupError):
        os.killpg(running.pid, 0)


def test_settings_and_nodes_are_the_runs(app):
    (_, metrics), summary = told(app, "rounds=1", "clients=4", "model.lr=0.5")
    assert (summary["clients"], list(metrics)) == (4, ["1"])


def test_what_an_app_raises_is_flowers_own_error_and_the_run_goes_on(app):
    done = simulate(app, "broken=2", "clients=3", "rounds=4")
    assert done.returncode == 0
    assert "ValueError: partition 2 is broken" in done.stderr and "ClientAppException occurred" in done.stderr
    assert json.loads(done.stdout.splitlines()[-1])["failures"] > 0


def test_an_import_that_fails_shows_the_apps_own_traceback(app):
    (app / "ports" / "client.py").write_text("import harbours\n")
    done = simulate(app)
    assert done.returncode == 1 and 'client.py", line 1' in done.stderr and "importlib" not in done.stderr
    assert done.stderr.splitlines()[-1].endswith("does not import: ModuleNotFoundError: No module named 'harbours'.")


@pytest.mark.parametrize(
    ("change", "words", "expected"),
    [
        (lambda app: (app / "pyproject.toml").unlink(), [], "has no pyproject.toml: name the folder of a Flower app"),
        (lambda app: (app / "pyproject.toml").write_text("[tool"), [], "pyproject.toml cannot be read"),
        (lambda app: (app / "pyproject.toml").write_text(""), [], "names no serverapp and no clientapp"),
        (lambda app: (app / "ports" / "client.py").write_text("app = 1"), [], "is no ClientApp"),
        (lambda app: None, ["lr=1"], "setting 'lr' is none of this app's: its pyproject.toml has rounds, broken"),
        (lambda app: None, ["clients=none"], "clients=none: it must be a whole number of at least 1"),
    ],
)
def test_bad_apps_are_told_in_one_line(app, change, words, expected):
    change(app)
    done = simulate(app, *words)
    assert done.returncode == 1 and expected in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr
